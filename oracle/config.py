"""Where things are and what the environment says: the only module that reads it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from oracle.errors import ConfigError

_ENV_PREFIX = "ORACLE_NODE__"
#: The store keeps these as 64-bit integers.
_MAX_INT64 = 2**63 - 1
#: No duration here makes sense beyond ten years; the system's timers end before "for ever".
_MAX_SECONDS = 10 * 365 * 24 * 3600


def project_root() -> Path:
    """The checkout that holds ``contracts/`` and ``node_modules/``."""
    return Path(os.environ.get("ORACLE_ROOT", Path(__file__).resolve().parent.parent))


def build_dir() -> Path:
    """Everything generated: bundles, SRS files, compiler wrappers and caches, benchmarks."""
    return Path(os.environ.get("ORACLE_BUILD_DIR", project_root() / "build"))


def deployments_dir() -> Path:
    """Where it is written which contracts are on which chain."""
    return Path(os.environ.get("ORACLE_DEPLOYMENTS", project_root() / "deployments"))


class NodeConfig(BaseSettings):
    """What a node needs to know. From a TOML file; ``ORACLE_NODE__<FIELD>`` overrides a field.

    Relative paths are relative to the configuration file's folder.
    """

    model_config = SettingsConfigDict(
        env_prefix=_ENV_PREFIX,
        extra="forbid",
        frozen=True,
        validate_default=False,
        allow_inf_nan=False,
    )

    chain_id: int = Field(gt=0, le=_MAX_INT64)
    #: HTTP endpoints, best first; the next one takes over when one does not answer.
    rpc_urls: tuple[str, ...] = Field(min_length=1)
    #: Seconds for one call on one endpoint.
    rpc_timeout: float = Field(default=10, gt=0, le=_MAX_SECONDS)
    #: Calls a second on one endpoint, on average, and how many may come at once: whatever goes
    #: wrong, a paid endpoint is not drained.
    rpc_requests_per_second: float = Field(default=50, gt=0, le=1_000_000)
    rpc_burst: int = Field(default=200, gt=0, le=1_000_000)
    #: WebSocket that tells of new blocks, so that they are read at once; polling goes on without it.
    ws_url: str | None = None
    #: Compare log queries with a second endpoint's answer, when there is one.
    log_cross_check: bool = True
    #: Address of the oracle contract.
    oracle: str
    #: First block to read: the one the oracle was deployed in, or later.
    start_block: int = Field(default=0, ge=0, le=_MAX_INT64)
    #: Blocks on top of a log or a transaction before it counts.
    confirmations: int = Field(default=12, ge=0, le=1_000_000)
    #: Seconds between two looks at the chain.
    poll_seconds: float = Field(default=2, gt=0, le=_MAX_SECONDS)
    #: Blocks in one log query; halved when the endpoint finds it too many.
    log_chunk: int = Field(default=2_000, gt=0, le=1_000_000_000)
    #: Folders of the models to prove.
    bundles: tuple[Path, ...] = Field(min_length=1)
    #: Folder of the SRS files; the build directory's by default.
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
    log_format: Literal["text", "json"] = "text"

    @field_validator("store", mode="before")
    @classmethod
    def _location(cls, value: object) -> object:
        if isinstance(value, str):
            is_url = value.startswith(("postgresql://", "postgres://"))
            if not is_url and "://" in value:
                raise ValueError("write a path, or a URL that begins with postgresql://")
            return SecretStr(value) if is_url else Path(value)
        return value

    @field_validator("oracle", "payee")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not is_hex_address(value):
            raise ValueError("not an Ethereum address")
        digits = value.removeprefix("0x")
        # Mixed case is a checksum (EIP-55): a wrong one is a mistyped address.
        if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(value):
            raise ValueError("the checksum of this address is wrong; copy it again")
        return str(to_checksum_address(value))

    @field_validator("rpc_urls")
    @classmethod
    def _urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(url.startswith(("http://", "https://")) for url in value):
            raise ValueError("must start with http:// or https://")
        if not all(map(_names_a_host, value)):
            raise ValueError("a URL has no valid host or port")
        return value

    @field_validator("ws_url")
    @classmethod
    def _ws_url(cls, value: str | None) -> str | None:
        if value is not None and not (
            value.startswith(("ws://", "wss://")) and _names_a_host(value)
        ):
            raise ValueError("must start with ws:// or wss:// and name a host")
        return value

    @model_validator(mode="after")
    def _one_account(self) -> Self:
        if (self.key_file is None) == (self.keystore is None):
            raise ValueError("set either key_file or keystore")
        if (self.keystore is None) != (self.password_file is None):
            raise ValueError("keystore and password_file go together")
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
        ConfigError: one line that names the file and the field, or the line that is not TOML.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror})",
            remedy="Name the node's configuration file with --config",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    _refuse_unknown_overrides()
    try:
        config = NodeConfig(**values)
    except (ValidationError, SettingsError) as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from None
    folder = path.resolve().parent
    resolved: dict[str, object] = {
        name: folder / value
        for name in ("srs_dir", "store", "work_dir", "key_file", "keystore", "password_file")
        if isinstance(value := getattr(config, name), Path)
    }
    resolved["bundles"] = tuple(folder / bundle for bundle in config.bundles)
    return config.model_copy(update=resolved)


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # The port is only parsed, and refused, when it is asked for.
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _refuse_unknown_overrides() -> None:
    """A mistyped override would otherwise be ignored in silence."""
    names = {name for name in os.environ if name.upper().startswith(_ENV_PREFIX)}
    for name in sorted(names):
        if name.upper().removeprefix(_ENV_PREFIX).lower() not in NodeConfig.model_fields:
            raise ConfigError(
                f"the environment variable {name} names no field of the configuration",
                remedy="Correct its name or unset it",
            )


def _first_problem(error: ValidationError | SettingsError) -> str:
    """The first problem without the offending value, which may be a secret put in a wrong field."""
    if isinstance(error, SettingsError):
        return f"an environment override is not valid: {error}"
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "is missing"
    elif first["type"] == "extra_forbidden":
        message = "is not a known field"
    return f"{field}: {message}" if field else message
