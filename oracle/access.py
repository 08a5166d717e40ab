"""How an RPC endpoint is reached, as a configuration says it: an address, or a table around one."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from oracle.errors import ConfigError
from oracle.private import read_private

#: A header's name (RFC 9110, 5.6.2), and those that are not the caller's to say.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset({"host", "content-type", "content-length", "transfer-encoding", "connection"})
#: Characters below which a part of an address is no key: a version or a chain's name.
_LEAST_SECRET = 8
_WRITE_HEADER = '{ file = "PATH" } or { env = "VARIABLE" }'


@dataclass(frozen=True, slots=True)
class Access:
    """One endpoint, and what may be asked of it."""

    #: May hold a key: `oracle.chain.rpc.redacted` says what may be shown.
    url: str = field(repr=False)
    #: Sent with each call; their values are secrets.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: The certificates to trust in place of the system's.
    ca_file: Path | None = None
    #: Calls a second, and how many may come at once; None for what all endpoints have.
    rate: float | None = None
    burst: int | None = None
    #: Most blocks in one log query; None for no limit of its own.
    log_blocks: int | None = None
    #: Whether it is asked for logs.
    logs: bool = True

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may be a key, longest first: endpoints repeat their callers' words in errors."""
        parts = urlsplit(self.url)
        query = [value for _, value in parse_qsl(parts.query)]
        found = {*parts.path.split("/"), *query, parts.username or "", parts.password or ""}
        found = {each for each in found if len(each) >= _LEAST_SECRET}
        for value in self.headers.values():
            # With and without the scheme before it, as in "Bearer KEY".
            found |= {value, *value.split()[1:]}
        return tuple(sorted(found, key=len, reverse=True))


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class HeaderSource(_Table):
    """Where the value of a header is: it is a secret, and no part of the configuration."""

    file: Path | None = None
    env: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_no_value(cls, given: Any) -> Any:
        if not isinstance(given, dict | HeaderSource):
            # A TypeError would not be taken for a refusal.
            raise ValueError(f"the value of a header is a secret: write {_WRITE_HEADER}")  # noqa: TRY004
        return given

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError(f"write {_WRITE_HEADER}")
        return self

    def read(self, environment: Mapping[str, str]) -> str:
        """The value.

        Raises:
            ConfigError: there is none, or none that a header can have.
        """
        if self.file is not None:
            where = str(self.file)
            text = read_private(self.file, "Let this user, and no other, read it").strip()
        else:
            where = f"the environment variable {self.env}"
            found = environment.get(self.env or "")
            if found is None:
                raise ConfigError(f"{where} is not set", remedy="Set it, or correct env")
            text = found.strip()
        if not text or not text.isascii() or not text.isprintable():
            raise ConfigError(
                f"{where} holds no value of a header",
                remedy="Put one line into it, for example: Bearer KEY",
            )
        return text


class EndpointTable(_Table):
    """An endpoint that needs more than its address."""

    url: str
    headers: dict[str, HeaderSource] = Field(default_factory=dict)
    ca_file: Path | None = None
    requests_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    burst: int | None = Field(default=None, gt=0, le=1_000_000)
    log_chunk: int | None = Field(default=None, gt=0, le=1_000_000_000)
    logs: bool = True

    @model_validator(mode="before")
    @classmethod
    def _is_a_table(cls, given: Any) -> Any:
        if not isinstance(given, dict | EndpointTable):
            raise ValueError('write a URL, or a table: { url = "https://host" }')  # noqa: TRY004
        return given

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return http_url(value)

    @field_validator("headers")
    @classmethod
    def _names(cls, value: dict[str, HeaderSource]) -> dict[str, HeaderSource]:
        for name in value:
            if not _HEADER.fullmatch(name) or name.lower() in _OURS:
                raise ValueError("names a header that cannot be set")
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("names a header twice")
        return value

    @model_validator(mode="after")
    def _certificates_are_asked_for(self) -> Self:
        if self.ca_file is not None and not self.url.startswith("https://"):
            raise ValueError("ca_file needs a url that begins with https://")
        return self

    def within(self, folder: Path) -> EndpointTable:
        """With its paths relative to a folder."""
        headers = {
            name: source
            if source.file is None
            else source.model_copy(update={"file": folder / source.file})
            for name, source in self.headers.items()
        }
        ca_file = None if self.ca_file is None else folder / self.ca_file
        return self.model_copy(update={"headers": headers, "ca_file": ca_file})

    def access(self, environment: Mapping[str, str]) -> Access:
        """With the headers' values.

        Raises:
            ConfigError: a file or a variable does not hold what it should.
        """
        if self.ca_file is not None:
            _require_certificates(self.ca_file)
        return Access(
            self.url,
            {name: source.read(environment) for name, source in self.headers.items()},
            self.ca_file,
            self.requests_per_second,
            self.burst,
            self.log_chunk,
            self.logs,
        )


def _require_certificates(path: Path) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        why = "holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"the ca_file {path} cannot be used ({why})",
            remedy="Name a file of certificates in PEM format that this user may read",
        ) from None


def http_url(value: str) -> str:
    """An address of an endpoint.

    Raises:
        ValueError: it is none.
    """
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    if not names_a_host(value):
        raise ValueError("a URL has no valid host or port")
    return value


def names_a_host(url: str) -> bool:
    """Whether there is a host in a URL, and no port that cannot be."""
    try:
        parts = urlsplit(url)
        # The port is only parsed, and refused, when it is asked for.
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def place_of(listed: str | EndpointTable) -> tuple[str, frozenset[tuple[str, HeaderSource]]]:
    """What tells one endpoint from another: its address, however it is written, and its headers."""
    url = listed if isinstance(listed, str) else listed.url
    headers = frozenset() if isinstance(listed, str) else frozenset(listed.headers.items())
    parts = urlsplit(url)
    # Hosts are the same in any case, and so are an empty path and "/".
    user, at, host = parts.netloc.rpartition("@")
    place = parts._replace(netloc=f"{user}{at}{host.lower()}", path=parts.path.rstrip("/"))
    return urlunsplit(place), headers


def _kind(value: object) -> str:
    return "url" if isinstance(value, str) else "table"


#: As a configuration has it: the address alone, or a table.
Listed = Annotated[
    Annotated[str, AfterValidator(http_url), Tag("url")] | Annotated[EndpointTable, Tag("table")],
    Discriminator(_kind),
]
