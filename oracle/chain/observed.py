"""Calls and failures of each endpoint, counted for whoever asks."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from oracle.chain.rpc import Transport
from oracle.errors import OracleError


class Traffic:
    """What went over each endpoint. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()

    def add(self, endpoint: str, seconds: float, error: str | None) -> None:
        """Count a call; ``error`` is its code, None when it was answered."""
        with self._lock:
            self._calls[endpoint] += 1
            # A counter of floats: its type says int, its sums do not care.
            self._seconds[endpoint] += seconds  # type: ignore[assignment]
            if error is not None:
                self._errors[endpoint, error] += 1

    def calls(self) -> Mapping[str, int]:
        """Calls by endpoint."""
        with self._lock:
            return dict(self._calls)

    def seconds(self) -> Mapping[str, float]:
        """Seconds spent waiting, by endpoint."""
        with self._lock:
            return dict(self._seconds)

    def errors(self) -> Mapping[tuple[str, str], int]:
        """Failures by endpoint and error code."""
        with self._lock:
            return dict(self._errors)


class ObservedTransport:
    """A `Transport` whose calls are counted.

    Args:
        inner: makes the calls.
        endpoint: its name without anything secret.
        traffic: where they are counted.
    """

    def __init__(self, inner: Transport, endpoint: str, traffic: Traffic) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._traffic = traffic

    def send(self, method: str, params: list[Any]) -> Any:
        """See `oracle.chain.rpc.Transport`."""
        started, code = time.monotonic(), None
        try:
            return self._inner.send(method, params)
        except OracleError as error:
            code = error.code
            raise
        finally:
            self._traffic.add(self._endpoint, time.monotonic() - started, code)
