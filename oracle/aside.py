"""Asks what may hang in a thread of its own, and waits no longer than was said.

A database that hangs, or the pooler before it, tells nobody so: whoever asks it waits with it. What
says how a node does must not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from oracle.errors import StoreError

T = TypeVar("T")


class Aside:
    """Asks one thing after the other. Thread safe.

    Args:
        seconds: to wait for an answer, and for those that were asked for before it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._asked: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # What was given up and may hold the thread yet.
        self._given_up: Future[Any] | None = None

    def ask(self, question: Callable[[], T]) -> T:
        """Its answer, or what it raises.

        Raises:
            StoreError: it has not answered in time, or an earlier one still has not.
        """
        answer: Future[T] = Future()
        with self._lock:
            if self._given_up is not None and not self._given_up.done():
                raise self._silent()
            if self._thread is None:
                # Of one thread for good: each thread has a connection of its own.
                self._thread = threading.Thread(target=self._work, name="aside", daemon=True)
                self._thread.start()
            self._asked.put((answer, question))
        try:
            return answer.result(self._seconds)
        except TimeoutError:
            if not answer.cancel():
                with self._lock:
                    self._given_up = answer
            raise self._silent() from None

    def _silent(self) -> StoreError:
        return StoreError(
            f"the store has not answered within {self._seconds:g} s",
            remedy="Look at the database, and at the pooler before it",
        )

    def _work(self) -> None:
        while True:
            answer, question = self._asked.get()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(question())
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked
                answer.set_exception(error)
            # An idle thread keeps nothing alive.
            del answer, question
