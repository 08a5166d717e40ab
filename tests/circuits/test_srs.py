"""SRS files: which are trusted, and where they come from."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from oracle.circuits import srs
from oracle.circuits.srs import SrsSource
from oracle.config import build_dir
from oracle.errors import ConfigError, SrsMismatch, SrsUnavailable, UsageError
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox

SANDBOX = Sandbox(Limits(timeout=60, memory_bytes=4 << 30, threads=1))
#: Stands for the ceremony's file of 2**6 rows.
CONTENT = bytes(range(256)) * 33 + bytes(4)


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CONTENT` is what the ceremony made."""
    pins = {6: hashlib.sha256(CONTENT).digest()}
    monkeypatch.setattr(srs, "ceremony_pins", lambda: pins)


class Mirror:
    """An HTTP server that answers every path with one body."""

    def __init__(self, status: int, body: bytes) -> None:
        self.paths: list[str] = []
        paths = self.paths

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                paths.append(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/tau/"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mirror(request: pytest.FixtureRequest) -> Iterator[Mirror]:
    """With the status and body of the test's parameter."""
    served = Mirror(*getattr(request, "param", (200, CONTENT)))
    yield served
    served.close()


def test_pins__one_hash_for_each_size() -> None:
    pins = srs.ceremony_pins()
    assert sorted(pins) == list(range(1, 27))
    assert all(len(pin) == 32 for pin in pins.values())
    assert len(set(pins.values())) == 26
    assert all(map(srs.is_pinned, pins.values()))
    assert not srs.is_pinned(bytes(32))


def test_get__ceremony_file_missing__says_which(tmp_path: Path) -> None:
    with pytest.raises(SrsMismatch, match=r"kzg12\.srs is missing"):
        SrsSource(tmp_path).get(12, SANDBOX)


def test_get__ceremony_file_with_other_content__refused(tmp_path: Path) -> None:
    (tmp_path / "kzg6.srs").write_bytes(CONTENT)
    with pytest.raises(SrsMismatch, match=srs.ceremony_pins()[6].hex()):
        SrsSource(tmp_path).get(6, SANDBOX)


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"\0", b""])
def test_get__ceremony_file_cut_or_grown__says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kzg6.srs").write_bytes(content)
    with pytest.raises(SrsMismatch, match=f"has {len(content)} bytes, .* has 8452"):
        SrsSource(tmp_path).get(6, SANDBOX)


@pytest.mark.usefixtures("pinned")
def test_get__ceremony_file_as_pinned__accepted_as_safe(tmp_path: Path) -> None:
    (tmp_path / "kzg6.srs").write_bytes(CONTENT)
    assert not SrsSource(tmp_path).get(6, SANDBOX).unsafe


@pytest.mark.usefixtures("pinned")
def test_get__replaced_between_two_uses__refused_at_the_second(tmp_path: Path) -> None:
    path = tmp_path / "kzg6.srs"
    path.write_bytes(CONTENT)
    source = SrsSource(tmp_path)
    source.get(6, SANDBOX)
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(SrsMismatch):
        source.get(6, SANDBOX)


def test_get__size_without_ceremony_file__refused(tmp_path: Path) -> None:
    with pytest.raises(SrsMismatch, match="no ceremony file is known"):
        SrsSource(tmp_path).get(27, SANDBOX)


@pytest.mark.usefixtures("pinned")
def test_get__missing_with_a_url__downloaded_once(tmp_path: Path, mirror: Mirror) -> None:
    source = SrsSource(tmp_path / "new", url=mirror.url)
    first, second = source.get(6, SANDBOX), source.get(6, SANDBOX)
    assert first == second
    assert first.path.read_bytes() == CONTENT
    assert [path.name for path in first.path.parent.iterdir()] == ["kzg6.srs"]
    assert mirror.paths == ["/tau/kzg6.srs"]


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize(
    ("mirror", "error"),
    [
        ((404, b"not here"), SrsUnavailable),
        ((200, b"<html>a login page</html>"), SrsMismatch),
        ((200, CONTENT + CONTENT), SrsMismatch),
        ((200, CONTENT[::-1]), SrsMismatch),
    ],
    ids=["missing", "too short", "too long", "another file"],
    indirect=["mirror"],
)
def test_get__mirror_serves_something_else__refused_and_nothing_kept(
    tmp_path: Path, mirror: Mirror, error: type[Exception]
) -> None:
    with pytest.raises(error):
        SrsSource(tmp_path, url=mirror.url).get(6, SANDBOX)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("pinned")
def test_get__mirror_does_not_answer__unavailable(tmp_path: Path) -> None:
    closed = Mirror(200, b"")
    closed.close()
    with pytest.raises(SrsUnavailable, match=r"kzg6\.srs could not be downloaded"):
        SrsSource(tmp_path, url=closed.url).get(6, SANDBOX)


def test_get__url_of_another_kind__usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not an HTTP address"):
        SrsSource(tmp_path, url="ftp://host").get(6, SANDBOX)


def test_get__devnet__made_once_kept_and_marked_unsafe(tmp_path: Path) -> None:
    source = SrsSource(tmp_path, unsafe=True)
    first, second = source.get(6, SANDBOX), source.get(6, SANDBOX)
    assert first == second
    assert first.unsafe
    assert [path.name for path in tmp_path.iterdir()] == ["devnet6.srs"]
    assert first.path.stat().st_size == srs.size_of(6)


def test_find__by_hash_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "kzg6.srs").write_bytes(b"one")
    (tmp_path / "devnet6.srs").write_bytes(b"other")
    other = srs.sha256_file(tmp_path / "devnet6.srs")
    assert srs.find(tmp_path, other, 6) == tmp_path / "devnet6.srs"
    with pytest.raises(SrsMismatch):
        srs.find(tmp_path, bytes(32), 6)


DIGEST = hashlib.sha256(CONTENT).digest()


class Endless(Mirror):
    """Sends the same piece for ever, at some pace."""

    def __init__(self, piece: bytes, pause: float) -> None:
        super().__init__(200, b"")
        stop = self._stop = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while not stop.wait(pause):
                        self.wfile.write(piece)

            def log_message(self, *_: object) -> None:
                pass

        self._server.RequestHandlerClass = Handler
        self._server.daemon_threads = True

    def close(self) -> None:
        self._stop.set()
        super().close()


@pytest.mark.usefixtures("pinned")
def test_provide__missing__is_downloaded_and_then_kept(tmp_path: Path, mirror: Mirror) -> None:
    """Operators D10."""
    for _ in range(2):
        path = srs.provide(tmp_path / "new", DIGEST, 6, url=mirror.url)
        assert path.read_bytes() == CONTENT
    assert mirror.paths == ["/tau/kzg6.srs"]


@pytest.mark.usefixtures("pinned")
def test_provide__address_with_a_token__asks_with_it(tmp_path: Path, mirror: Mirror) -> None:
    srs.provide(tmp_path, DIGEST, 6, url=mirror.url.rstrip("/") + "?token=SEKRIT#x")
    assert mirror.paths == ["/tau/kzg6.srs?token=SEKRIT"]


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize(
    ("mirror", "said"),
    [
        ((404, b""), "HTTP status 404"),
        ((200, b"short"), "does not have the"),
        ((200, CONTENT[::-1]), "SHA-256"),
    ],
    indirect=["mirror"],
)
def test_provide__mirror_has_not_the_file__names_it_without_what_is_secret(
    tmp_path: Path, mirror: Mirror, said: str
) -> None:
    """Nothing is left that could be deleted: another address is what helps."""
    url = mirror.url.replace("http://", "http://user:SEKRIT@") + "SEKRIT?token=SEKRIT"
    with pytest.raises((SrsMismatch, SrsUnavailable)) as caught:
        srs.provide(tmp_path, DIGEST, 6, url=url)
    line = caught.value.line()
    assert said in line
    assert mirror.url.removesuffix("/tau/") in line
    assert "--srs-url" in line
    assert "SEKRIT" not in line
    assert "Delete" not in line


def test_provide__address_is_none__is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not an HTTP address") as caught:
        srs.SrsSource(tmp_path, url="ftp://user:SEKRIT@host").get(6, SANDBOX)
    assert "SEKRIT" not in caught.value.line()


@pytest.mark.usefixtures("pinned")
def test_provide__no_folder_can_be_made__is_one_line(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="cannot be made"):
            srs.provide(folder, DIGEST, 6, url=mirror.url)


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize(
    "mirror",
    [(200, CONTENT[:-1]), (200, CONTENT + b"\0"), (200, CONTENT[::-1]), (404, b""), (200, b"")],
    ids=["short", "long", "wrong hash", "missing", "empty"],
    indirect=["mirror"],
)
def test_provide__mirror_serves_something_else__nothing_is_kept(
    tmp_path: Path, mirror: Mirror
) -> None:
    with pytest.raises((SrsMismatch, SrsUnavailable)):
        srs.provide(tmp_path, DIGEST, 6, url=mirror.url)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize(("piece", "pause"), [(b"x" * 65536, 0.0), (b"x", 0.01)])
def test_provide__answer_that_never_ends__is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes, pause: float
) -> None:
    """One that floods is too long, one that trickles too slow: a byte now and then is no progress."""
    monkeypatch.setattr(srs, "_TIMEOUT", 0.1)
    monkeypatch.setattr(srs, "_LEAST_SPEED", 1 << 17)
    endless = Endless(piece, pause)
    try:
        with pytest.raises((SrsMismatch, SrsUnavailable)):
            srs.provide(tmp_path, DIGEST, 6, url=endless.url)
    finally:
        endless.close()
    assert not list(tmp_path.iterdir())


def test_provide__folder_that_has_it__is_linked(tmp_path: Path) -> None:
    source = tmp_path / "there"
    source.mkdir()
    (source / "devnet6.srs").write_bytes(CONTENT)
    path = srs.provide(tmp_path / "here", DIGEST, 6, source=source)
    assert path == tmp_path / "here" / "devnet6.srs"
    assert path.samefile(source / "devnet6.srs")


def test_provide__folder_on_another_disk__is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "kzg6.srs").write_bytes(CONTENT)
    path = srs.provide(tmp_path / "here", DIGEST, 6, source=tmp_path)
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == ["kzg6.srs"]


@pytest.mark.parametrize("options", [{}, {"url": "http://127.0.0.1:1/"}])
def test_provide__a_devnets_file__is_not_to_be_downloaded(
    tmp_path: Path, options: dict[str, str]
) -> None:
    with pytest.raises(SrsMismatch, match="made for a devnet") as caught:
        srs.provide(tmp_path, DIGEST, 6, **options)
    assert "--srs-from" in caught.value.line()


@pytest.mark.usefixtures("pinned")
def test_provide__nobody_says_where__names_both_ways(tmp_path: Path) -> None:
    with pytest.raises(SrsMismatch, match=r"kzg6\.srs is missing") as caught:
        srs.provide(tmp_path, DIGEST, 6)
    assert "--srs-url" in caught.value.line()
    assert "--srs-from" in caught.value.line()


def test_default_folder__installed_package__is_beside_the_bundle_and_never_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators D10: the default was a folder in site-packages."""
    bundle = tmp_path / "models" / "iris"
    assert srs.default_folder(bundle) == build_dir() / "srs"
    monkeypatch.setattr(srs, "is_checkout", lambda: False)
    assert srs.default_folder(bundle) == tmp_path / "models" / "srs"
    monkeypatch.setattr(srs, "is_checkout", lambda: True)
    (tmp_path / "models" / "srs").mkdir(parents=True)
    assert srs.default_folder(bundle) == tmp_path / "models" / "srs"
