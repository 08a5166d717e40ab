"""The server of pages: read-only, local, and not to be held up."""

from __future__ import annotations

import io
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from oracle.callers import Bounds
from oracle.errors import ConfigError, StoreError
from oracle.log import make_logger
from oracle.services.http import HttpService, Page, Query, Response
from tests.patience import PATIENCE

Serve = Callable[..., HttpService]


@pytest.fixture
def lines() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def serve(lines: io.StringIO) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(
            pages: Mapping[str, Page], *, connections: int = 64, seconds: float = PATIENCE
        ) -> HttpService:
            log, bounds = make_logger(lines, json=True), Bounds(4, connections, seconds)
            return stack.enter_context(HttpService("127.0.0.1", 0, pages, log, bounds=bounds))

        yield start


def get(service: HttpService, path: str, method: str = "GET") -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def test_page__is_served_with_its_parameters(serve: Serve) -> None:
    service = serve({"/a": lambda query: Response.of_json(dict(query))})
    status, kind, text = get(service, "/a?x=1&y=a%20b")
    assert (status, kind) == (200, "application/json")
    assert '"y": "a b"' in text


def test_path__unknown__lists_the_pages(serve: Serve) -> None:
    service = serve({"/a": lambda _: Response(b"")})
    status, _, text = get(service, "/b")
    assert status == 404
    assert "/a" in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_method__that_could_change_something__is_refused(serve: Serve, method: str) -> None:
    called: list[Query] = []

    def page(query: Query) -> Response:
        called.append(query)
        return Response(b"x")

    assert get(serve({"/a": page}), "/a", method)[0] == 405
    assert called == []


def test_head__has_no_body(serve: Serve) -> None:
    assert get(serve({"/a": lambda _: Response(b"xyz")}), "/a", "HEAD")[::2] == (200, "")


def test_page__raises__is_an_answer_and_not_the_servers_end(
    serve: Serve, lines: io.StringIO
) -> None:
    def coded(_: Query) -> Response:
        raise StoreError("disk full")

    def bug(_: Query) -> Response:
        raise ValueError("secret detail")

    service = serve({"/coded": coded, "/bug": bug})
    assert get(service, "/coded")[::2] == (503, "STORE: disk full.\n")
    status, _, text = get(service, "/bug")
    assert status == 500
    assert "secret" not in text
    assert "ValueError" in lines.getvalue()
    assert get(service, "/coded")[0] == 503


def test_page__hangs__others_answer(serve: Serve) -> None:
    held = threading.Event()

    def slow(_: Query) -> Response:
        held.wait(PATIENCE)
        return Response(b"slow")

    service = serve({"/slow": slow, "/quick": lambda _: Response(b"quick")})
    caller = threading.Thread(target=get, args=(service, "/slow"))
    caller.start()
    assert get(service, "/quick")[2] == "quick"
    held.set()
    caller.join(PATIENCE)


def test_callers__that_say_nothing_or_garbage__do_not_stop_it(serve: Serve) -> None:
    service = serve({"/a": lambda _: Response(b"x")})
    silent = socket.create_connection(("127.0.0.1", service.port))
    with socket.create_connection(("127.0.0.1", service.port)) as rude:
        rude.sendall(b"\x00\xff garbage\r\n\r\n")
        rude.recv(10)
    assert get(service, "/a")[2] == "x"
    silent.close()


def test_many_calls__leave_no_thread_and_no_descriptor_behind(serve: Serve) -> None:
    service = serve({"/a": lambda _: Response(b"x")})
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(100):
        get(service, "/a")
    assert threading.active_count() <= threads + 4
    assert len(list(Path("/proc/self/fd").iterdir())) <= files + 4


def test_port__in_use__is_a_configuration_error(serve: Serve) -> None:
    service = serve({})
    with pytest.raises(ConfigError, match="cannot listen on") as caught:
        HttpService("127.0.0.1", service.port, {}, make_logger(io.StringIO()))
    assert "http_port" in caught.value.line()


def test_end__closes_the_port(lines: io.StringIO) -> None:
    with HttpService("127.0.0.1", 0, {}, make_logger(lines)) as service:
        port = service.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_start__right_after_an_end__has_the_port_again(lines: io.StringIO) -> None:
    log = make_logger(lines)
    with HttpService("127.0.0.1", 0, {"/a": lambda _: Response(b"x")}, log) as service:
        port = service.port
        # Closed by the server first: its side of the connection lingers.
        assert get(service, "/a")[2] == "x"
    with HttpService("127.0.0.1", port, {}, log) as service:
        assert service.port == port


def call(service: HttpService, said: bytes) -> socket.socket:
    """A connection on which something was said."""
    caller = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)
    caller.sendall(said)
    return caller


def is_closed(caller: socket.socket) -> bool:
    """Whether the server ends a connection without having said a word."""
    try:
        return caller.recv(1) == b""
    except ConnectionError:
        return True


_PAGES = {"/livez": lambda _: Response(b"well")}


def test_callers__forty_that_feed_headers__do_not_shut_the_port(serve: Serve) -> None:
    """Operators D13: 40 connections that send a header line now and then, for ever."""
    service = serve(_PAGES, seconds=2 * PATIENCE)
    slow = [call(service, b"GET /livez HTTP/1.1\r\n") for _ in range(40)]
    for line in range(5):
        for caller in slow:
            caller.sendall(f"X-{line}: y\r\n".encode())
        assert get(service, "/livez")[::2] == (200, "well")
    for caller in slow:
        # None was harmed: who ends its head is answered.
        caller.sendall(b"\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.0 200")
        caller.close()


def test_caller__feeds_headers_beyond_the_deadline__is_closed(serve: Serve) -> None:
    """Operators D13: the deadline is for the whole request, not for each of its lines."""
    service = serve(_PAGES, seconds=0.3)
    caller = call(service, b"GET /livez HTTP/1.1\r\n")
    caller.settimeout(0.01)
    fed = 0
    ended = False
    while not ended:
        # A server that waits anew after each line would be fed for ever, and the test run out.
        try:
            caller.sendall(b"X: y\r\n")
            fed += 1
            ended = caller.recv(1) == b""
        except TimeoutError:
            continue
        except ConnectionError:
            ended = True
    assert fed > 1
    caller.close()


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nX: ", b"GET /livez HTTP/1.0\r\n"])
def test_caller__says_no_more__is_closed_unanswered(serve: Serve, said: bytes) -> None:
    """Operators D13."""
    caller = call(serve(_PAGES, seconds=0.2), said)
    assert is_closed(caller)
    caller.close()


@pytest.mark.parametrize(
    "said",
    [b"GET /" + b"a" * 200_000, b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 20_000],
    ids=["line", "lines"],
)
def test_caller__endless_head__is_closed(serve: Serve, said: bytes) -> None:
    service = serve(_PAGES)
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as caller:
        with suppress(ConnectionError):
            caller.sendall(said)
        assert is_closed(caller)


def test_connections__more_than_may_be__make_room_oldest_first(serve: Serve) -> None:
    """Operators D13: whoever comes is let in; who has said too little for longest goes."""
    service = serve(_PAGES, connections=8, seconds=2 * PATIENCE)
    silent = [call(service, b"GET /livez HTTP/1.1\r\n") for _ in range(8)]
    # Each of them is known to the server: the first of them were taken first.
    assert get(service, "/livez")[2] == "well"
    assert is_closed(silent[0])
    more = [call(service, b"GET") for _ in range(3)]
    assert all(map(is_closed, silent[1:3]))
    for caller in silent[5:]:
        caller.sendall(b"\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.0 200")
    for caller in (*silent, *more):
        caller.close()


def test_connections__answer_is_awaited__those_that_say_nothing_go_first(serve: Serve) -> None:
    begun, held = threading.Event(), threading.Event()

    def slow(_: Query) -> Response:
        begun.set()
        held.wait(PATIENCE)
        return Response(b"slow")

    service = serve({"/slow": slow, **_PAGES}, connections=4, seconds=2 * PATIENCE)
    honest = call(service, b"GET /slow HTTP/1.1\r\n\r\n")
    assert begun.wait(PATIENCE)
    silent = [call(service, b"GET") for _ in range(30)]
    assert all(map(is_closed, silent[:-4]))
    assert get(service, "/livez")[2] == "well"
    held.set()
    assert honest.recv(100).startswith(b"HTTP/1.0 200")
    for caller in (honest, *silent):
        caller.close()


def test_callers__that_take_no_answer__hold_no_worker_and_are_closed(serve: Serve) -> None:
    """Operators D13, the other way round: a large answer that nobody reads."""
    service = serve({"/large": lambda _: Response(b"x" * 50_000_000), **_PAGES}, seconds=0.5)
    files = len(list(Path("/proc/self/fd").iterdir()))
    deaf = [call(service, b"GET /large HTTP/1.1\r\n\r\n") for _ in range(6)]
    assert all(caller.recv(8) == b"HTTP/1.0" for caller in deaf)
    assert get(service, "/livez")[2] == "well"
    # Both ends are this process's: the server's are closed without a caller's doing.
    while len(list(Path("/proc/self/fd").iterdir())) > files + len(deaf):
        time.sleep(0.01)
    for caller in deaf:
        taken = 0
        with suppress(ConnectionError):
            while got := caller.recv(1 << 20):
                taken += len(got)
        assert taken < 50_000_000
        caller.close()


def test_caller__sends_a_body__still_hears_the_answer(serve: Serve) -> None:
    """What nobody reads would reset the connection, and the answer would be lost."""
    body = b"x" * 100_000
    head = f"POST /livez HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    with call(serve(_PAGES), head.encode() + body) as caller:
        caller.shutdown(socket.SHUT_WR)
        heard = b""
        while got := caller.recv(1000):
            heard += got
    assert heard.startswith(b"HTTP/1.0 405")
    assert heard.endswith(b"GET or HEAD\n")


def test_end__answers_that_were_begun_are_finished_others_are_closed(lines: io.StringIO) -> None:
    begun, held = threading.Event(), threading.Event()

    def slow(_: Query) -> Response:
        begun.set()
        held.wait(PATIENCE)
        return Response(b"slow")

    with HttpService("127.0.0.1", 0, {"/slow": slow}, make_logger(lines)) as service:
        silent = call(service, b"GET")
        honest = call(service, b"GET /slow HTTP/1.1\r\n\r\n")
        assert begun.wait(PATIENCE)
        threading.Timer(0.05, held.set).start()
    assert honest.recv(100).startswith(b"HTTP/1.0 200")
    assert is_closed(silent)
    honest.close()
    silent.close()
