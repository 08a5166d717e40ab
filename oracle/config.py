"""Where things are and what the environment says: the only module that reads it."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, get_origin

from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from oracle.access import Access, EndpointTable, Listed, names_a_host, place_of
from oracle.errors import ConfigError
from oracle.private import open_plain

_ENV_PREFIX = "ORACLE_NODE__"
#: The store keeps these as 64-bit integers.
_MAX_INT64 = 2**63 - 1
#: No duration here makes sense beyond ten years; the system's timers end before "for ever".
_MAX_SECONDS = 10 * 365 * 24 * 3600
#: How a PostgreSQL connection is written where it is no URL.
_CONNINFO = re.compile(r"\s*(host|hostaddr|port|dbname|user|password|passfile|service)\s*=", re.I)


def project_root() -> Path:
    """The checkout that holds ``contracts/`` and ``node_modules/``."""
    return Path(os.environ.get("ORACLE_ROOT", Path(__file__).resolve().parent.parent))


def is_checkout() -> bool:
    """Whether this is the project's checkout and not an installed package: only there is a build."""
    is_told = any(name in os.environ for name in ("ORACLE_ROOT", "ORACLE_BUILD_DIR"))
    return is_told or (project_root() / "pyproject.toml").is_file()


def build_dir() -> Path:
    """Everything generated: bundles, SRS files, compiler wrappers and caches, benchmarks."""
    return Path(os.environ.get("ORACLE_BUILD_DIR") or project_root() / "build")


def notify_socket() -> str:
    """Where systemd wants to be told how the service is doing; empty when it does not."""
    return os.environ.get("NOTIFY_SOCKET", "")


def deployments_dir() -> Path:
    """Where it is written which contracts are on which chain."""
    return Path(os.environ.get("ORACLE_DEPLOYMENTS") or project_root() / "deployments")


class NodeConfig(BaseSettings):
    """What a node needs to know. From a TOML file; ``ORACLE_NODE__<FIELD>`` overrides a field.

    ``ORACLE_NODE__<FIELD>_FILE`` names a file that holds the override, for endpoints whose address
    is a secret. A key itself is never a value of the configuration, only the file it is in.

    Relative paths are relative to the configuration file's folder.
    """

    model_config = SettingsConfigDict(
        env_prefix=_ENV_PREFIX,
        extra="forbid",
        frozen=True,
        validate_default=False,
        allow_inf_nan=False,
    )

    #: The chain; every endpoint must serve it.
    chain_id: int = Field(gt=0, le=_MAX_INT64)
    #: HTTP endpoints, best first; the next one takes over when one does not answer. Each is a URL,
    #: or a table with headers, certificates and limits of its own. None may be named twice.
    rpc_urls: tuple[Listed, ...] = Field(min_length=1)
    #: Seconds for one whole call on one endpoint, however it spends them.
    rpc_timeout: float = Field(default=10, gt=0, le=_MAX_SECONDS)
    #: Calls a second on one endpoint, on average, and how many may come at once: whatever goes
    #: wrong, a paid endpoint is not drained. A call that would wait for it longer than
    #: ``rpc_timeout`` fails as ``RPC_THROTTLED``.
    rpc_requests_per_second: float = Field(default=50, gt=0, le=1_000_000)
    rpc_burst: int = Field(default=200, gt=0, le=1_000_000)
    #: WebSocket that tells of new blocks, so that they are read at once, and asked for less often
    #: while it does; polling goes on without it.
    ws_url: str | None = None
    #: Compare log queries with a second endpoint's answer, when there is one.
    log_cross_check: bool = True
    #: Address of the oracle contract.
    oracle: str
    #: First block to read: the one the oracle was deployed in, or later. One beyond the newest block
    #: is refused.
    start_block: int = Field(default=0, ge=0, le=_MAX_INT64)
    #: Blocks on top of a log or a transaction before it counts.
    confirmations: int = Field(default=12, ge=0, le=1_000_000)
    #: Seconds between two looks at the chain.
    poll_seconds: float = Field(default=2, gt=0, le=_MAX_SECONDS)
    #: Most blocks in one log query; fewer when no endpoint takes as many.
    log_chunk: int = Field(default=2_000, gt=0, le=1_000_000_000)
    #: Folders of the models to prove; none twice.
    bundles: tuple[Path, ...] = Field(min_length=1)
    #: Folder of the SRS files; by default ``srs`` beside each bundle's folder.
    srs_dir: Path | None = None
    #: The ledger: a SQLite file; or postgresql://USER@HOST:PORT/DATABASE, which several nodes may
    #: share. Its password may be in the URL or in a file that PGPASSFILE names.
    store: Path | SecretStr
    #: Seconds of silence after which the nodes that share a store take over from one of them.
    lease_seconds: float = Field(default=30, gt=0, le=_MAX_SECONDS)
    #: Where proofs run; anything in it may be deleted.
    work_dir: Path
    #: The account: a file with the key in hex, or an encrypted keystore and its password's file.
    key_file: Path | None = None
    keystore: Path | None = None
    password_file: Path | None = None
    #: Or a remote signer (Web3Signer's eth1 API) and the address it signs for.
    signer_url: str | None = None
    signer_account: str | None = None
    #: Seconds for one signature of a remote signer.
    signer_timeout: float = Field(default=10, gt=0, le=_MAX_SECONDS)
    #: Who is paid; the account itself by default.
    payee: str | None = None
    #: Where proofs are made: by this machine, or by the machines of a Ray cluster.
    prover: Literal["local", "ray"] = "local"
    #: Most proofs at the same time.
    workers: int = Field(default=1, gt=0, le=10_000)
    #: Threads that the proofs of this machine share; as many as it has processors by default.
    threads: int | None = Field(default=None, gt=0, le=10_000)
    #: Bytes for the proofs of this machine together; most of its memory by default.
    memory_bytes: int | None = Field(default=None, gt=0, le=_MAX_INT64)
    #: The cluster: host:port, ray://host:port, or auto for the one that this machine belongs to.
    ray_address: str | None = None
    #: Processors and graphics processors that each proof takes there.
    ray_cpus: int = Field(default=2, gt=0, le=10_000)
    ray_gpus: float = Field(default=0, ge=0, le=100)
    #: Seconds after which a proof is stopped.
    prove_timeout: float = Field(default=600, gt=0, le=_MAX_SECONDS)
    #: Seconds to keep between a proof and its request's deadline.
    deadline_margin: float = Field(default=30, ge=0, le=_MAX_SECONDS)
    #: Seconds that a request may wait for others of its model, to be proved together for less gas.
    #: Those that wait for a free worker anyway are joined whatever this says.
    batch_wait_seconds: float = Field(default=0, ge=0, le=_MAX_SECONDS)
    #: Most requests that one proof answers; 1 proves each alone.
    batch_max_requests: int = Field(default=64, ge=1, le=256)
    #: Wei the account must hold; below that the node takes no new requests.
    min_balance: int = Field(default=10**16, ge=0)
    #: Free bytes that the disks of store and work_dir must keep, and this machine's memory beside
    #: the proofs that run; below that the node takes no new requests.
    min_disk_bytes: int = Field(default=2**30, ge=0, le=_MAX_INT64)
    min_memory_bytes: int = Field(default=2**28, ge=0, le=_MAX_INT64)
    #: Most unanswered requests of one account at a time; 0 sets no limit.
    max_open_per_account: int = Field(default=0, ge=0, le=_MAX_INT64)
    #: Accounts to work for, when any is named; and accounts never to work for.
    only_accounts: tuple[str, ...] = ()
    refused_accounts: tuple[str, ...] = ()
    #: Wei of the model fee, less the publisher's share, that a request must leave to this node.
    min_income: int = Field(default=0, ge=0)
    #: Wei that an answer may cost beyond what its request brings; 0 never spends more.
    subsidy_per_request: int = Field(default=0, ge=0)
    #: Tip in wei per gas; what recent blocks took by default.
    priority_fee: int | None = Field(default=None, ge=0, le=_MAX_INT64)
    #: Seconds after which a transaction that is not mined is replaced by a dearer one.
    stuck_seconds: float = Field(default=60, gt=0, le=_MAX_SECONDS)
    #: Seconds to keep ended requests and their history.
    retention_seconds: float = Field(default=30 * 24 * 3600, gt=0, le=_MAX_SECONDS)
    #: One JSON object a line, or text for a person.
    log_format: Literal["text", "json"] = "text"
    #: Where the node's page, /livez, /readyz and /metrics are served; port 0 serves nothing. A port
    #: that is taken is a warning of ``oracle node check`` and a trouble in ``oracle node status``.
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=0, ge=0, le=65_535)
    #: Names besides localhost by which callers may call that port.
    http_names: tuple[str, ...] = ()
    #: Block explorer that the page links transactions to (``https://host``); no links by default.
    explorer_url: str | None = None
    #: Seconds that a service may work on one step before /livez calls it hung.
    stall_seconds: float = Field(default=300, gt=0, le=_MAX_SECONDS)
    #: Decide and prove, and send nothing: what a node would do here, before it has money.
    dry_run: bool = False
    #: Seconds that proofs and transactions on their way get to be finished at a shutdown.
    drain_seconds: float = Field(default=60, ge=0, le=_MAX_SECONDS)

    @property
    def endpoints(self) -> tuple[Access, ...]:
        """The endpoints, best first, with what their headers' files and variables hold now.

        Raises:
            ConfigError: one does not hold what it should.
        """
        return tuple(map(_access, self.rpc_urls))

    @property
    def folders(self) -> dict[str, Path]:
        """The folders whose disks must keep room, by field; a store in PostgreSQL has none."""
        store = {"store": self.store.parent} if isinstance(self.store, Path) else {}
        return {**store, "work_dir": self.work_dir}

    @field_validator("store", mode="before")
    @classmethod
    def _location(cls, value: object) -> object:
        if isinstance(value, str):
            is_url = value.startswith(("postgresql://", "postgres://"))
            if not is_url and "://" in value:
                raise ValueError("write a path, or a URL that begins with postgresql://")
            if _CONNINFO.match(value):
                # A path it would be, and its password the name of a file.
                raise ValueError("write a database as a URL that begins with postgresql://")
            return SecretStr(value) if is_url else Path(value)
        return value

    @field_validator("oracle", "payee", "signer_account")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else _checked_address(value)

    @field_validator("only_accounts", "refused_accounts")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_checked_address, value))

    @field_validator("signer_url", "explorer_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not (
            value.startswith(("http://", "https://")) and names_a_host(value)
        ):
            raise ValueError("must be an http:// or https:// URL with a host")
        return value

    @field_validator("rpc_urls")
    @classmethod
    def _some_have_logs(cls, value: tuple[Listed, ...]) -> tuple[Listed, ...]:
        if not any(isinstance(each, str) or each.logs for each in value):
            raise ValueError("no endpoint is left for logs; one must not say logs = false")
        return value

    @field_validator("rpc_urls")
    @classmethod
    def _are_several(cls, value: tuple[Listed, ...]) -> tuple[Listed, ...]:
        # The cross-check would ask the same endpoint twice, and a failure leave nobody to ask.
        places = [place_of(each) for each in value]
        if len(set(places)) < len(places):
            raise ValueError("names an endpoint twice; leave one of them out")
        return value

    @field_validator("bundles")
    @classmethod
    def _are_different(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        if len({os.path.normpath(each) for each in value}) < len(value):
            raise ValueError("names a bundle twice; leave one of them out")
        return value

    @field_validator("ws_url")
    @classmethod
    def _ws_url(cls, value: str | None) -> str | None:
        if value is not None and not (
            value.startswith(("ws://", "wss://")) and names_a_host(value)
        ):
            raise ValueError("must start with ws:// or wss:// and name a host")
        return value

    @model_validator(mode="after")
    def _one_account(self) -> Self:
        if [self.key_file, self.keystore, self.signer_url].count(None) != 2:
            raise ValueError("set either key_file or keystore or signer_url")
        if (self.keystore is None) != (self.password_file is None):
            raise ValueError("keystore and password_file go together")
        if (self.signer_url is None) != (self.signer_account is None):
            raise ValueError("signer_url and signer_account go together")
        return self

    @model_validator(mode="after")
    def _ray_has_an_address(self) -> Self:
        if (self.prover == "ray") != (self.ray_address is not None):
            raise ValueError('prover = "ray" and ray_address go together')
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose values `load_node_config` passes in."""
        return env_settings, init_settings


def load_node_config(path: Path) -> NodeConfig:
    """Read and check a node's configuration file.

    Raises:
        ConfigError: one line that names the file, the line in it and the field, or the variable.
    """
    try:
        text = _read(path)
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror})",
            remedy="Name the node's configuration file with --config",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: it is nested too deep") from None
    _refuse_unknown_overrides()
    try:
        config = NodeConfig(**values | _overrides_from_files())
    except ValidationError as error:
        raise _refusal(path, text, error) from None
    except (SettingsError, RecursionError) as error:
        raise _unparsed(path, error) from None
    folder = path.resolve().parent
    resolved: dict[str, object] = {
        name: folder / value
        for name in ("srs_dir", "store", "work_dir", "key_file", "keystore", "password_file")
        if isinstance(value := getattr(config, name), Path)
    }
    resolved["bundles"] = tuple(folder / bundle for bundle in config.bundles)
    resolved["rpc_urls"] = tuple(
        each if isinstance(each, str) else each.within(folder) for each in config.rpc_urls
    )
    config = config.model_copy(update=resolved)
    _check_endpoints(path, text, config)
    return config


def _read(path: Path) -> str:
    """Text of a plain file: the node reads it while it runs, and must not wait for a pipe."""
    with open_plain(path) as file:
        return file.read().decode()


def _access(listed: Listed) -> Access:
    return Access(listed) if isinstance(listed, str) else listed.access(os.environ)


def _check_endpoints(path: Path, text: str, config: NodeConfig) -> None:
    """That files and variables of the endpoints hold what they should."""
    for index, listed in enumerate(config.rpc_urls):
        try:
            _access(listed)
        except ConfigError as error:
            where = _place(path, text, ("rpc_urls", index))
            raise ConfigError(f"{where}: {error.message}", remedy=error.remedy) from None


def _checked_address(value: str) -> str:
    if not is_hex_address(value):
        raise ValueError("not an Ethereum address")
    digits = value.removeprefix("0x")
    # Mixed case is a checksum (EIP-55): a wrong one is a mistyped address.
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(value):
        raise ValueError("the checksum of this address is wrong; copy it again")
    return str(to_checksum_address(value))


def _overrides() -> dict[str, str]:
    """The overriding variables of the environment, by the field that each names."""
    prefixed = (name for name in sorted(os.environ) if name.upper().startswith(_ENV_PREFIX))
    return {name.upper().removeprefix(_ENV_PREFIX).lower(): name for name in prefixed}


def _field_in_file(name: str) -> str | None:
    """The field whose value is in the file that an override names; None for any other override."""
    field = name.removesuffix("_file")
    if name in NodeConfig.model_fields or field == name:
        return None
    return field if field in NodeConfig.model_fields else None


def _refuse_unknown_overrides() -> None:
    """A mistyped override would otherwise be ignored in silence."""
    overrides = _overrides()
    for field, name in overrides.items():
        meant = _field_in_file(field)
        if meant is None and field not in NodeConfig.model_fields:
            raise ConfigError(
                f"the environment variable {name} names no field of the configuration",
                remedy="Correct its name or unset it",
            )
        if meant in overrides:
            raise ConfigError(
                f"the environment variables {name} and {overrides[meant]} set the same field",
                remedy="Unset one of them",
            )


def _overrides_from_files() -> dict[str, object]:
    """The fields whose values are in files that the environment names.

    A value is what the variable without ``_FILE`` would hold: JSON for a list, else the text.
    """
    found: dict[str, object] = {}
    for name, variable in _overrides().items():
        field = _field_in_file(name)
        if field is None:
            continue
        try:
            text = _read(Path(os.environ[variable])).strip()
            # Lists only: the text of a number or a word is what pydantic reads.
            found[field] = json.loads(text) if text.startswith("[") else text
        except OSError as error:
            raise ConfigError(
                f"the file that {variable} names cannot be read ({error.strerror})",
                remedy="Correct the variable, or let this user read the file",
            ) from None
        except (ValueError, RecursionError):
            raise ConfigError(
                f"the file that {variable} names holds no valid value", remedy="Write a JSON list"
            ) from None
    return found


def _suggestion(loc: Sequence[int | str]) -> str:
    known = NodeConfig.model_fields if len(loc) == 1 else EndpointTable.model_fields
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def _refusal(path: Path, text: str, error: ValidationError) -> ConfigError:
    """The first problem without the offending value, which may be a secret put in a wrong field."""
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "is missing"
    elif first["type"] == "extra_forbidden":
        message = "is not a known field" + _suggestion(first["loc"])
    if not first["loc"]:
        # What does not go together: each field that the message names.
        named = [name for name in NodeConfig.model_fields if name in message.split()]
        lines = sorted(filter(None, (_line_of(text, name) for name in named)))
        where = f", line {' and '.join(map(str, lines))}" if lines else ""
        return ConfigError(f"{path}{where}: {message}")
    return ConfigError(f"{_place(path, text, first['loc'])}: {message}")


def _unparsed(path: Path, error: SettingsError | RecursionError) -> ConfigError:
    """Which variable does not hold the JSON that its field takes."""
    for field, variable in _overrides().items():
        if field not in NodeConfig.model_fields or not _is_list(field):
            continue
        try:
            json.loads(os.environ[variable])
        except (ValueError, RecursionError):
            return ConfigError(
                f"{path}: {field}, set by the variable {variable}: must be a JSON list",
                remedy=f'Write it like {variable}=\'["first", "second"]\'',
            )
    return ConfigError(f"{path}: an environment override is not valid: {error}")


def _is_list(field: str) -> bool:
    return get_origin(NodeConfig.model_fields[field].annotation) is tuple


def _place(path: Path, text: str, loc: Sequence[int | str]) -> str:
    """Where a value is: the file, its line, and the field; or the variable that set the field."""
    # Which kind of endpoint it was taken for says nothing to its author.
    shown = [part for part in loc if part not in ("url", "table") or loc[-1] == "url" == part]
    field, name = ".".join(map(str, shown)), str(loc[0])
    overrides = _overrides()
    variable = overrides.get(name) or overrides.get(f"{name}_file")
    if variable is not None:
        return f"{path}: {field}, set by the variable {variable}"
    line = _line_in_tables(text, loc) or _line_of(text, name)
    return f"{path}{'' if line is None else f', line {line}'}: {field}"


def _line_in_tables(text: str, loc: Sequence[int | str]) -> int | None:
    """The line of a value in one of several tables, ``[[name]]``; None for any other value."""
    if len(loc) < 2 or not isinstance(loc[1], int):
        return None
    lines = text.splitlines()
    header = re.compile(rf"""\s*\[\[\s*["']?{re.escape(str(loc[0]))}["']?\s*\]\]""")
    starts = [index for index, line in enumerate(lines) if header.match(line)]
    if loc[1] >= len(starts):
        return None
    start = starts[loc[1]]
    for key in (str(part) for part in reversed(loc[2:])):
        within = re.compile(rf"""\s*\[*\s*(?:[\w"'.-]+\.)?["']?{re.escape(key)}["']?\s*[=.\]]""")
        for index in range(start + 1, len(lines)):
            if lines[index].lstrip().startswith("[["):
                break
            if within.match(lines[index]):
                return index + 1
    return start + 1


def _line_of(text: str, name: str) -> int | None:
    """The number of the line on which a top-level key of a valid TOML file is set.

    What looks like the key inside a string or a list of several lines is not it: the lines before
    the key's are a valid file of their own.
    """
    key = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if key.match(line) and _is_toml("\n".join(lines[:index])):
            return index + 1
    return None


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
