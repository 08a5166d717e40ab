"""Serves read-only pages on a local port.

A page is a function; a router is a mapping of paths to pages. Nothing here changes anything, and
only GET and HEAD without a body are answered. A few threads serve, so that a page that waits for
the store does not hold up the others; how slow callers are kept from them: `oracle.callers`.

A browser that looks at other sites is on the same machine as the operator's. So a caller must name
this server by a number, as localhost, or as the operator said: a name that some site's owner points
at 127.0.0.1 is refused (DNS rebinding). And no answer may be framed, sniffed, or load from outside.
"""

from __future__ import annotations

import io
import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from structlog.typing import FilteringBoundLogger

from oracle.callers import Bounds, Callers
from oracle.errors import ConfigError, OracleError

#: Each worker keeps a connection to the store.
_BOUNDS = Bounds(workers=4, connections=64, seconds=5.0)

#: What a browser may do with an answer: nothing but what this server's own files ask for.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

#: The parameters of a request's address.
Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    #: The methods that would have been right, after a wrong one.
    allow: str = ""

    @classmethod
    def of_json(cls, value: Any, status: int = 200) -> Response:
        """An answer in JSON."""
        return cls(json.dumps(value, indent=2).encode() + b"\n", status, "application/json")


Page = Callable[[Query], Response]


class HttpService:
    """A server of pages; a context manager.

    Args:
        host: the address to listen on.
        port: the port; 0 for any free one.
        pages: what to answer, by path.
        log: for a person.
        names: names besides localhost by which callers may call this server.
        bounds: what callers may take.

    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        pages: Mapping[str, Page],
        log: FilteringBoundLogger,
        *,
        names: Iterable[str] = (),
        bounds: Bounds = _BOUNDS,
    ) -> None:
        known = frozenset(name.lower() for name in ("localhost", host, *names))
        try:
            self._callers = Callers(
                host, port, lambda head: _Handler(head, pages, log, known).answer, bounds
            )
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port} ({error.strerror})",
                remedy="Correct http_host or http_port, or set http_port to 0",
            ) from None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._callers.port

    def __enter__(self) -> Self:
        """Serve."""
        self._callers.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the running answers and stop."""
        self._callers.__exit__()


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer; nothing here waits for the caller."""

    server_version = "oracle"
    sys_version = ""

    def __init__(
        self,
        head: bytes,
        pages: Mapping[str, Page],
        log: FilteringBoundLogger,
        names: frozenset[str],
    ) -> None:
        # The parent's would want a connection.
        self._written = io.BytesIO()
        self.rfile, self.wfile = io.BytesIO(head), self._written
        self._pages, self.log, self._names = pages, log, names
        self.handle()

    @property
    def answer(self) -> bytes:
        """The answer."""
        return self._written.getvalue()

    def do_GET(self) -> None:
        self._send(self._response(), with_body=True)

    def do_HEAD(self) -> None:
        self._send(self._response(), with_body=False)

    def _refuse(self) -> None:
        text = b"this server only shows: GET or HEAD\n"
        self._send(Response(text, 405, allow="GET, HEAD"), with_body=True)

    # Names that the parent looks for.
    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse  # noqa: N815

    def _response(self) -> Response:
        if not _is_named(self.headers.get_all("Host", []), self._names):
            text = "this server has another name; add yours to http_names in its configuration\n"
            return Response(text.encode(), 403)
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return Response(b"no request here has a body\n", 400)
        address = urlsplit(self.path)
        page = self._pages.get(address.path)
        if page is None:
            known = "\n".join(sorted(self._pages))
            return Response(f"no such page; there are:\n{known}\n".encode(), 404)
        try:
            return page(dict(parse_qsl(address.query)))
        except OracleError as error:
            return Response(error.line().encode() + b"\n", 503)
        except Exception:
            self.log.exception("page crashed", code="CRASH", page=address.path)
            return Response(b"the page crashed; the node's log says why\n", 500)

    def _send(self, response: Response, *, with_body: bool) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if response.allow:
            self.send_header("Allow", response.allow)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(response.body)

    def log_message(self, *_: Any) -> None:
        """Scrapes are not worth a line each."""


def _is_named(hosts: list[str], names: frozenset[str]) -> bool:
    """Whether a caller's ``Host`` lines are one address in numbers or one of ``names``.

    None at all is well, too: every browser sends one.
    """
    if len(hosts) != 1:
        return not hosts
    try:
        name = urlsplit(f"//{hosts[0]}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True
