"""The server of pages: read-only, local, and not to be held up."""

from __future__ import annotations

import io
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from oracle.errors import ConfigError, StoreError
from oracle.log import make_logger
from oracle.services.http import HttpService, Page, Query, Response
from tests.patience import PATIENCE

Serve = Callable[[Mapping[str, Page]], HttpService]


@pytest.fixture
def lines() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def serve(lines: io.StringIO) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(pages: Mapping[str, Page]) -> HttpService:
            log = make_logger(lines, json=True)
            return stack.enter_context(HttpService("127.0.0.1", 0, pages, log))

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
