"""Serves callers that may be slow, silent or many, one answer a connection.

Heads of requests are gathered and answers sent by one thread that waits for nobody, and each within
a deadline for the whole of it; only a request whose head is whole takes a worker. Where there are
more connections than may be, the oldest is closed for the new caller: of those that have not said all
yet, for an honest caller says it at once; where there is none, of all.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self, cast

_Tasks = dict["asyncio.Task[None]", None]

#: Bytes of a request line and its headers.
_MOST_HEAD = 1 << 16
#: Connections that the kernel keeps for us until they are taken.
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Bounds:
    """What callers may take."""

    #: Requests that are answered at the same time.
    workers: int
    #: Connections at the same time.
    connections: int
    #: Seconds for a caller to send the whole head of its request, and again to take its answer.
    seconds: float


class Callers:
    """Answers on a port; a context manager.

    Args:
        host: the address to listen on.
        port: the port; 0 for any free one.
        answer: makes the bytes of an answer from those of a request's head; called by the workers.
        bounds: what callers may take.

    Raises:
        OSError: the address cannot be used.
    """

    def __init__(
        self, host: str, port: int, answer: Callable[[bytes], bytes], bounds: Bounds
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self.port = int(self._socket.getsockname()[1])
        self._answer = answer
        self._bounds = bounds
        self._pool = ThreadPoolExecutor(bounds.workers, thread_name_prefix="http")
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        # In the order of their coming: those to whom an answer is owed, and the others.
        self._owed: _Tasks = {}
        self._idle: _Tasks = {}
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the answers that were begun and stop."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._meet, sock=self._socket, limit=_MOST_HEAD)
        await self._stop.wait()
        server.close()
        for task in self._idle:
            task.cancel()
        if waiting := [*self._idle, *self._owed]:
            await asyncio.wait(waiting)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._make_room()
        self._idle[task] = None
        try:
            async with asyncio.timeout(self._bounds.seconds):
                head = await _head(reader)
            self._move(task, self._idle, self._owed)
            answer = await self._loop.run_in_executor(self._pool, self._answer, head)
            async with asyncio.timeout(self._bounds.seconds):
                await _send(answer, writer)
                self._move(task, self._owed, self._idle)
                # What it sent and nobody read would make the kernel reset the connection, and the
                # answer's end be lost.
                while not self._stop.is_set() and await reader.read(_MOST_HEAD):
                    pass
        except (OSError, EOFError, ValueError, asyncio.CancelledError):
            # The caller went away, was too slow (TimeoutError) or too wordy, or had to make room.
            writer.transport.abort()
        finally:
            self._owed.pop(task, None)
            self._idle.pop(task, None)
            writer.close()

    def _make_room(self) -> None:
        """Close a connection if there are as many as may be."""
        if len(self._idle) + len(self._owed) >= self._bounds.connections:
            place = self._idle or self._owed
            oldest = next(iter(place))
            # At once: it ends only when its turn comes.
            del place[oldest]
            oldest.cancel()

    def _move(self, task: asyncio.Task[None], here: _Tasks, there: _Tasks) -> None:
        # One that had to make room is in neither.
        if task in here:
            del here[task]
            there[task] = None


async def _head(reader: asyncio.StreamReader) -> bytes:
    """A request's line and headers, up to the empty line.

    Raises:
        EOFError: the caller stopped before.
        ValueError: they are too long.
    """
    head = b""
    while line := await reader.readline():
        head += line
        if len(head) > _MOST_HEAD:
            raise ValueError("the head is too long")
        if not line.strip():
            return head
    raise EOFError


async def _send(answer: bytes, writer: asyncio.StreamWriter) -> None:
    """Hand all of an answer to the kernel."""
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(answer)
    await writer.drain()
    writer.write_eof()
