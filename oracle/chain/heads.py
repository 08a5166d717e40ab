"""New blocks by WebSocket: a bell that wakes the poller, and never the source of truth.

Whatever the socket says or hides, the poller reads the chain over HTTP: less often while blocks are
told of (`oracle.chain.arrivals`), at its own interval otherwise. A socket that closes, cleanly or not,
or that says nothing for too long is opened again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from oracle.chain.arrivals import Arrivals
from oracle.chain.rpc import redacted
from oracle.errors import RpcUnreachable

#: Seconds without a block after which a subscription is taken for dead.
SILENCE = 90.0
#: Seconds before the first attempt to connect again; doubles up to the longest.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
_SUBSCRIBE = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}


class HeadListener(threading.Thread):
    """Rings at new blocks that an endpoint tells of, and after each connection.

    Args:
        url: ``ws://`` or ``wss://``.
        ring: called from this thread.
        arrivals: told of each block, and says which are worth ringing for.
        log: for a person.
        silence: seconds without a block after which the connection is made anew.
        first_pause: seconds before the second attempt to connect.
    """

    def __init__(
        self,
        url: str,
        ring: Callable[[], None],
        arrivals: Arrivals,
        log: FilteringBoundLogger,
        *,
        silence: float = SILENCE,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        super().__init__(name="heads", daemon=True)
        self._url = url
        self._ring = ring
        self._arrivals = arrivals
        self._log = log
        self._silence = silence
        self._first_pause = first_pause
        self._pause = first_pause
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def run(self) -> None:
        """Listen until stopped."""
        while not self._stopped.is_set():
            try:
                self._listen()
            except RpcUnreachable as error:
                if self._stopped.is_set():
                    return
                self._log.warning(
                    "new blocks are not told, polling only",
                    code=error.code,
                    detail=error.message,
                    seconds=self._pause,
                )
            self._stopped.wait(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def stop(self) -> None:
        """Hang up and end the thread."""
        self._stopped.set()
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _listen(self) -> None:
        """One connection, to its end.

        Raises:
            RpcUnreachable: how it ended.
        """
        name = redacted(self._url)
        try:
            with connect(self._url, close_timeout=1) as connection:
                with self._lock:
                    self._connection = connection
                if self._stopped.is_set():
                    return
                connection.send(json.dumps(_SUBSCRIBE))
                self._hear(connection)
        except TimeoutError:
            raise RpcUnreachable(f"{name} told of no block for {self._silence:.0f} s") from None
        except (WebSocketException, OSError, ValueError, RecursionError) as error:
            # The cause's text may hold the whole URL, credentials included.
            raise RpcUnreachable(f"{name} hung up ({type(error).__name__})") from None
        finally:
            with self._lock:
                self._connection = None

    def _hear(self, connection: Connection) -> None:
        while True:
            message = json.loads(connection.recv(self._silence))
            if not isinstance(message, dict) or message.get("error") is not None:
                raise RpcUnreachable(f"{redacted(self._url)} refuses to tell of new blocks")
            self._pause = self._first_pause
            number = _number(message)
            told = self._arrivals.began() if number is None else self._arrivals.heard(number)
            if told:
                self._ring()


def _number(message: dict[str, Any]) -> int | None:
    """The block that a message tells of; None if it tells of none, as the first one does."""
    try:
        return int(message["params"]["result"]["number"], 16)
    except (KeyError, TypeError, ValueError):
        return None
