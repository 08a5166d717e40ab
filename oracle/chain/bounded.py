"""HTTP with a deadline for the whole call and a cap on the answer.

The timeout that HTTP libraries know begins anew with every byte, and an answer is as long as the
sender likes: one endpoint that trickles, or that never ends, would hold its caller for ever or
fill the memory. Here each read from the socket, of headers too, looks at the clock and the count.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

#: Most bytes of an answer.
MOST_BYTES = 64 << 20
_PIECE = 1 << 16
#: Connections that are kept open, for as many threads.
_CONNECTIONS = 32
#: Redirects that are followed.
REDIRECTS = 3


class TooLong(Exception):
    """The answer did not end in time."""


class TooLarge(Exception):
    """The answer is larger than any may be."""


@dataclass(slots=True)
class _Allowance:
    """What one call may take yet."""

    #: By the monotonic clock.
    deadline: float
    bytes_left: int

    def seconds(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the call's time is over")
        return left

    def took(self, amount: int) -> None:
        self.bytes_left -= amount
        if self.bytes_left < 0:
            raise OSError("the answer is too large")


# Between the two ends of a library that knows of no such thing; a call stays in its thread.
_call = threading.local()


class _BoundedReader(io.RawIOBase):
    """A socket's bytes, as long as the call may take them."""

    def __init__(self, sock: socket.socket, raw: Any, allowance: _Allowance) -> None:
        self._sock = sock
        self._raw = raw
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._allowance.seconds())
        amount: int = self._raw.readinto(buffer) or 0
        self._allowance.took(amount)
        return amount

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_BoundedReader(sock, raw, _call.allowance))


class _Connection(HTTPConnection):
    response_class = _BoundedResponse


class _TlsConnection(HTTPSConnection):
    response_class = _BoundedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class BoundedSession:
    """Asks over HTTP. Thread safe.

    Args:
        seconds: for a whole call.
        most_bytes: of an answer, compressed or not.
        redirects: how many are followed.
        ca_file: certificates to trust in place of the system's.
    """

    def __init__(
        self,
        seconds: float,
        most_bytes: int = MOST_BYTES,
        redirects: int = REDIRECTS,
        ca_file: Path | None = None,
    ) -> None:
        self._seconds = seconds
        self._most_bytes = most_bytes
        # Said with each call: the session's own word yields to the environment's.
        self._verify = True if ca_file is None else str(ca_file)
        self._session = requests.Session()
        self._follows = redirects > 0
        if self._follows:
            self._session.max_redirects = redirects
        for scheme in _POOLS:
            self._session.mount(f"{scheme}://", _Adapter(pool_maxsize=_CONNECTIONS))

    def ask(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        """Send and read the answer, whatever its status.

        Raises:
            TooLong: it took longer than it may.
            TooLarge: it is larger than it may be.
            requests.RequestException: no whole answer for another reason.
            ValueError: the address is none.
        """
        allowance = _Allowance(time.monotonic() + self._seconds, self._most_bytes)
        _call.allowance = allowance
        try:
            return self._ask(method, url, body, headers)
        except (requests.RequestException, OSError) as error:
            if allowance.bytes_left < 0:
                raise TooLarge from error
            if isinstance(error, requests.Timeout) or time.monotonic() >= allowance.deadline:
                raise TooLong from error
            raise

    def _ask(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        with self._session.request(
            method,
            url,
            data=body,
            headers=dict(headers),
            timeout=self._seconds,
            # What a .netrc has for the host would replace the header.
            auth=_as_it_is if "authorization" in map(str.lower, headers) else None,
            stream=True,
            verify=self._verify,
            allow_redirects=self._follows,
        ) as response:
            content = bytearray()
            for piece in response.iter_content(_PIECE):
                content += piece
                if len(content) > self._most_bytes:
                    raise TooLarge
            return Reply(response.status_code, response.headers, bytes(content))
