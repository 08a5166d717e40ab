"""A node's beginnings: its account, the SRS files of its bundles, its configuration.

Nothing that is there is overwritten, keys least of all, and what could fail is done before anything
is written that would be in the way of a second try.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account

from oracle.chain import deployments
from oracle.chain.contracts import OracleContract
from oracle.chain.rpc import Rpc, chain_id_of
from oracle.chain.signer import LocalSigner
from oracle.circuits.bundle import Bundle, needed_srs
from oracle.circuits.srs import default_folder, provide
from oracle.config import NodeConfig, load_node_config
from oracle.errors import ConfigError, UsageError
from oracle.private import make_folder, read_private

CONFIG, KEYSTORE, PASSWORD = "node.toml", "keystore.json", "password"
#: Multiple of the balance below which a node takes nothing, to begin with.
_BALANCES = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be set up."""

    #: Where the configuration, the account and the store will be.
    folder: Path
    rpc_urls: tuple[str, ...]
    bundles: tuple[Path, ...]
    #: By default the one that is recorded for the chain.
    oracle: str | None = None
    start_block: int | None = None
    #: By default a new account is made.
    key_file: Path | None = None
    #: By default where a bundle's SRS is looked for.
    srs_dir: Path | None = None
    srs_url: str | None = None
    srs_from: Path | None = None
    http_port: int = 9464


@dataclass(frozen=True, slots=True)
class Begun:
    """What was set up."""

    config: Path
    account: str
    #: Whether the account was made now.
    is_new: bool
    srs: tuple[Path, ...]
    #: Wei that it holds, and that it is still to be sent.
    balance: int
    missing: int


def begin(wanted: Wanted, progress: Callable[[str], None] = lambda _: None) -> Begun:
    """Set a node up.

    Raises:
        ConfigError: there is a configuration already, or half an account.
        UsageError: no endpoint or no bundle is named.
        OracleError: endpoint, contract, bundle or SRS are not what they should be.
    """
    config = wanted.folder / CONFIG
    if config.exists():
        raise ConfigError(
            f"{config} exists already, and is left as it is",
            remedy=f"Edit it, or give another --folder; then: "
            f"oracle node check --config {shlex.quote(str(config))}",
        )
    if not wanted.rpc_urls or not wanted.bundles:
        raise UsageError(
            "no endpoint or no bundle is named", remedy="Give --rpc URL and --bundle FOLDER"
        )
    progress("asking the endpoint")
    url = wanted.rpc_urls[0]
    rpc = Rpc([url], chain_id_of(url))
    oracle, start_block = _contract(wanted, rpc, url)
    srs_dir = wanted.srs_dir or default_folder(wanted.bundles[0])
    srs = fetch(wanted.bundles, srs_dir, wanted.srs_url, wanted.srs_from, progress)
    for path in wanted.bundles:
        Bundle.load(path, srs_dir).require_safe(rpc.chain_id)
    progress("the account")
    make_folder(wanted.folder, "the node's files, with --folder")
    values = _values(wanted, rpc.chain_id, oracle, start_block, srs_dir)
    _write_new(config, "".join(f"{name} = {_toml(value)}\n" for name, value in values.items()))
    try:
        # The account last: a configuration that is refused leaves none behind.
        settings = load_node_config(config)
        signer, is_new = _account(wanted)
    except BaseException:
        config.unlink()
        raise
    balance = rpc.balance(signer.address)
    needed = _BALANCES * settings.min_balance
    return Begun(config, signer.address, is_new, srs, balance, max(0, needed - balance))


def fetch(
    bundles: Sequence[Path],
    folder: Path,
    url: str | None,
    source: Path | None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ...]:
    """Have the SRS files of bundles in a folder, each checked by its hash.

    Raises:
        BundleInvalid: a bundle does not tell what it needs.
        SrsMismatch, SrsUnavailable: a file is not to be had.
    """
    found = []
    for sha256, logrows in dict.fromkeys(need for path in bundles for need in needed_srs(path)):
        progress(f"the SRS file for 2**{logrows} rows")
        found.append(provide(folder, sha256, logrows, url=url, source=source))
    return tuple(found)


def _contract(wanted: Wanted, rpc: Rpc, url: str) -> tuple[str, int]:
    """The oracle's address, and the first block to read."""
    if wanted.oracle is None:
        found = deployments.at(rpc, url)
        oracle, block = found.oracle, found.block
    else:
        oracle, block = wanted.oracle, 0
    OracleContract(rpc, oracle).registry()
    if wanted.start_block is None:
        return oracle, block
    head = rpc.head().number
    if wanted.start_block > head:
        raise UsageError(
            f"--start-block {wanted.start_block} is beyond the newest block, {head}",
            remedy="Give the block that the oracle was deployed in",
        )
    return oracle, wanted.start_block


def _account(wanted: Wanted) -> tuple[LocalSigner, bool]:
    if wanted.key_file is not None:
        return LocalSigner.from_key_file(wanted.key_file), False
    keystore, password = wanted.folder / KEYSTORE, wanted.folder / PASSWORD
    if keystore.exists():
        # Of an earlier try, or the operator's.
        return LocalSigner.from_keystore(keystore, password), False
    if not password.exists():
        _write_new(password, secrets.token_hex(32) + "\n")
    word = read_private(password, "Delete it, if it belongs to no keystore").rstrip("\r\n")
    account = Account.create()
    _write_new(keystore, json.dumps(account.encrypt(word)) + "\n")
    # Read back: a keystore that cannot be opened must not be sent money.
    return LocalSigner.from_keystore(keystore, password), True


def _values(
    wanted: Wanted, chain_id: int, oracle: str, start_block: int, srs_dir: Path
) -> dict[str, object]:
    account: dict[str, object] = {"keystore": KEYSTORE, "password_file": PASSWORD}
    if wanted.key_file is not None:
        account = {"key_file": str(wanted.key_file.absolute())}
    return {
        "chain_id": chain_id,
        "rpc_urls": list(wanted.rpc_urls),
        "oracle": oracle,
        "start_block": start_block,
        "bundles": [str(path.absolute()) for path in wanted.bundles],
        "srs_dir": str(srs_dir.absolute()),
        "store": "node.db",
        "work_dir": "jobs",
        **account,
        "min_balance": NodeConfig.model_fields["min_balance"].get_default(),
        "http_port": wanted.http_port,
    }


def _toml(value: object) -> str:
    """A value as TOML has it: as JSON, but for what JSON writes as two halves, and for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_new(path: Path, text: str) -> None:
    """A file that only its owner may read, and that was not there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists already, and is left as it is", remedy="Give another --folder"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror})", remedy="Give another --folder"
        ) from None
    # A path that is no UTF-8 is refused when it is read, not with a traceback here.
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
