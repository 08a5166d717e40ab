"""Log lines that a person can follow and a machine can parse, and that never hold a secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

#: Fields that are public and may hold 32 bytes in hex.
_PUBLIC = frozenset({"request", "requests", "tx", "block_hash", "job", "bundle", "code_hash"})
#: Fields that a person recognises by their first digits.
_SHORTENED = frozenset({"request", "requests", "job"})
_SECRET_NAME = re.compile(r"key|secret|password|passphrase|mnemonic|token|credential", re.I)
#: A private key is 32 bytes in hex.
_KEY_LIKE = re.compile(r"(?<![0-9a-fA-F])(?:0x)?[0-9a-fA-F]{64}(?![0-9a-fA-F])")
#: Credentials and API keys travel in a URL's user, path and query.
_URL = re.compile(r"\b([a-z]+://)(?:[^\s/@]*@)?([^\s/?#'\"]+)[^\s'\"]*")
_MASK = "***"


def make_logger(stream: TextIO, *, json: bool = False) -> FilteringBoundLogger:
    """A logger that writes to ``stream``.

    Args:
        stream: where lines go.
        json: one JSON object a line instead of aligned text.
    """
    render: list[Processor]
    if json:
        render = [structlog.processors.JSONRenderer()]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), pad_event_to=26, sort_keys=False
        )
        render = [_shorten, console]
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if json else "%H:%M:%S.%f", utc=True),
            structlog.processors.format_exc_info,
            redact,
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    return logger


def secretless(text: str) -> str:
    """Words as they may be kept and shown."""
    return str(redact(None, "", {"detail": text})["detail"])


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A processor that masks fields named like a secret, key-like text, and what URLs hide."""
    return {name: _clean(name, value) for name, value in event.items()}


def request_hex(request_id: int) -> str:
    """A request id as explorers write it: 0x and 64 digits. Text logs show the first eight."""
    return f"{request_id:#066x}"


def request_fields(request_ids: Sequence[int]) -> dict[str, str]:
    """One request, or several that go together, as the fields of a line."""
    name = "request" if len(request_ids) == 1 else "requests"
    return {name: " ".join(map(request_hex, request_ids))}


def _shorten(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name in _SHORTENED & event.keys():
        words = str(event[name]).split()
        event[name] = " ".join(word.removeprefix("0x")[:8] for word in words)
    return event


def _clean(name: str, value: object) -> object:
    if isinstance(value, int | float) or value is None:
        return value
    if _SECRET_NAME.search(name):
        return _MASK
    text = "0x" + value.hex() if isinstance(value, bytes) else str(value)
    text = _URL.sub(r"\1\2", text)
    return text if name in _PUBLIC else _KEY_LIKE.sub(_MASK, text)
