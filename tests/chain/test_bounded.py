"""Endpoints that trickle or never end: a call has a deadline and an answer a size."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from oracle.chain.bounded import BoundedSession, TooLarge, TooLong
from oracle.chain.remote import RemoteSigner
from oracle.chain.rpc import HttpTransport, Rpc
from oracle.errors import RpcUnreachable, SignerRefused, SignerUnreachable

from .test_rpc import endpoint

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
LIMIT = 1 << 20


@contextmanager
def raw(speak: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that says what it likes to whoever has sent a request; its URL."""
    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            speak(connection, stop)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def drip(prefix: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """One byte after another, never an end."""

    def speak(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(prefix)
        while not stop.wait(0.02):
            connection.sendall(b" ")

    return speak


def flood(connection: socket.socket, stop: threading.Event) -> None:
    """Blanks without an end."""
    connection.sendall(HEAD + b"\r\n")
    while not stop.is_set():
        connection.sendall(b" " * (1 << 16))


#: In the body, in a header, in the first line.
DRIPS = {"body": HEAD + b"\r\n", "header": HEAD + b"X-Slow: ", "status": b"HTTP/1.1 200 "}


@pytest.mark.parametrize("where", DRIPS)
def test_endpoint_that_trickles__ends_at_the_deadline_and_the_next_answers(where: str) -> None:
    """Operators' D6: a byte now and then kept a call alive for ever."""
    with raw(drip(DRIPS[where])) as slow, endpoint(lambda _: {"result": "0x2a"}) as good:
        rpc = Rpc([slow, good], 31337, timeout=0.3)
        assert rpc.balance("0x") == 42
        first, second = rpc.health()
        assert "did not answer within 0.3 s" in first.trouble
        assert first.resting > 0
        assert second.failures == 0


def test_endpoint_that_trickles_alone__is_told() -> None:
    with raw(drip(DRIPS["body"])) as slow, pytest.raises(RpcUnreachable, match=r"within 0\.3 s"):
        Rpc([slow], 31337, timeout=0.3).head()


def test_endpoint_that_never_ends__is_cut_off_and_the_next_answers() -> None:
    """Operators' D7: one endpoint could fill the memory."""
    with raw(flood) as endless, endpoint(lambda _: {"result": "0x2a"}) as good:
        rpc = Rpc(
            [endless, good],
            31337,
            transport=lambda url, _: HttpTransport(url, 60, most_bytes=LIMIT),
        )
        assert rpc.balance("0x") == 42
        assert "answered with more than 1 MiB" in rpc.health()[0].trouble


def test_read__no_more_than_the_limit_and_one_buffer() -> None:
    sent = 0

    def count(connection: socket.socket, stop: threading.Event) -> None:
        nonlocal sent
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        connection.sendall(HEAD + b"\r\n")
        while not stop.is_set():
            connection.sendall(b" " * (1 << 16))
            sent += 1 << 16

    with raw(count) as url, pytest.raises(TooLarge):
        BoundedSession(60, LIMIT).ask("POST", url, b"{}", {})
    # What else was sent lies in the sockets' buffers.
    assert sent < LIMIT + (16 << 20)


def test_packed_answer__is_measured_as_it_unpacks() -> None:
    packed = gzip.compress(b" " * (8 * LIMIT))
    assert len(packed) < LIMIT
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with (
        raw(lambda connection, _: connection.sendall(head + packed)) as url,
        pytest.raises(TooLarge),
    ):
        BoundedSession(60, LIMIT).ask("POST", url, b"{}", {})


def test_answer_of_just_the_limit__is_read_and_the_connection_used_again() -> None:
    body = json.dumps({"result": "0x" + "0" * 1000}).encode()
    with endpoint(lambda _: body) as url:
        session = BoundedSession(60, len(body) + 500)
        for _ in range(3):
            reply = session.ask("POST", url, b'{"method": "x"}', {})
            assert (reply.status, reply.content) == (200, body)


def test_silence__is_too_long() -> None:
    with raw(lambda _, stop: stop.wait()) as url, pytest.raises(TooLong):  # type: ignore[arg-type,return-value]
        BoundedSession(0.2).ask("POST", url, b"{}", {})


def test_answer_nested_without_end__is_no_json_rpc() -> None:
    with endpoint(lambda _: b"[" * 200_000) as url, pytest.raises(RpcUnreachable):
        Rpc([url], 31337).balance("0x")


def test_key_that_an_endpoint_repeats__is_not_passed_on() -> None:
    error = {"error": {"code": -32000, "message": "key abcdef123456 for me:s3cret-pass is off"}}
    with endpoint(lambda _: error) as url:
        secret = url.replace("http://", "http://somebody:s3cret-pass@") + "/v2/abcdef123456"
        with pytest.raises(Exception, match="key") as caught:
            Rpc([secret], 31337).balance("0x")
    assert "abcdef123456" not in str(caught.value)
    assert "s3cret-pass" not in str(caught.value)


def test_signer_that_trickles__is_told_and_holds_nobody() -> None:
    """Operators' D6, at the other place that the node asks over HTTP."""
    account = "0x" + "11" * 20
    with (
        raw(drip(DRIPS["body"])) as url,
        pytest.raises(SignerUnreachable, match=r"within 0\.3 s"),
    ):
        RemoteSigner(url, account, timeout=0.3).connect()
    with raw(flood) as url, pytest.raises(SignerRefused, match="more than 1 MiB"):
        RemoteSigner(url, account, timeout=60).connect()
