"""Options that name a chain, its oracle and an account, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from oracle.addresses import read_address
from oracle.chain import deployments
from oracle.chain.rpc import Rpc, chain_id_of, require_url
from oracle.chain.signer import LocalSigner
from oracle.errors import UsageError

#: Where a devnet listens.
LOCAL = "http://127.0.0.1:8545"

Url = Annotated[str, typer.Option("--rpc", help="RPC endpoint of the chain.")]
ChainId = Annotated[
    int | None,
    typer.Option(help="The chain that it must serve; by default whichever it serves.", min=1),
]
Oracle = Annotated[
    str | None,
    typer.Option(help="Address of the oracle contract; by default that in deployments/."),
]
KeyFile = Annotated[
    Path | None, typer.Option(help="The account: a file with the key in hex (mode 0600).")
]
Keystore = Annotated[Path | None, typer.Option(help="Instead: an encrypted keystore (mode 0600).")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File with the keystore's password (mode 0600).")
]
FirstBlock = Annotated[
    int | None,
    typer.Option(help="First block to look for the request in; by default the oracle's.", min=0),
]
RequestId = Annotated[
    str,
    typer.Argument(
        metavar="REQUEST", help="The request's id in hex or decimal, or its first digits."
    ),
]


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and the oracle on it."""

    rpc: Rpc
    oracle: str
    #: The first block that can hold one of its logs, as far as is known.
    first_block: int


def chain_of(
    url: str, chain_id: int | None, oracle: str | None, first_block: int | None = None
) -> Chain:
    """The chain behind the options; what they leave out is in ``deployments/``.

    Raises:
        UsageError: an option is malformed.
        ConfigError: no oracle is named, and none is recorded for this chain.
    """
    rpc = endpoint_of(url, chain_id)
    if oracle is not None:
        return Chain(rpc, address_of(oracle, "--oracle"), first_block or 0)
    found = deployments.at(rpc, url)
    return Chain(rpc, found.oracle, found.block if first_block is None else first_block)


def endpoint_of(url: str, chain_id: int | None) -> Rpc:
    """The endpoint that ``--rpc`` names, which must serve the chain if one is given.

    Raises:
        UsageError: it is no HTTP address.
    """
    require_url(url)
    return Rpc([url], chain_id_of(url) if chain_id is None else chain_id)


def address_of(text: str, option: str) -> str:
    """An address given as an option."""
    found = read_address(text)
    if found is None:
        raise UsageError(
            f"{option} {text} is not an Ethereum address",
            remedy="Give 0x and 40 hex digits with a valid checksum",
        )
    return found


def signer_of(
    key_file: Path | None,
    keystore: Path | None,
    password_file: Path | None,
    purpose: str = "pay for this",
) -> LocalSigner:
    """The account that the options name.

    Args:
        key_file: of ``--key-file``.
        keystore: of ``--keystore``.
        password_file: of ``--password-file``.
        purpose: what it is needed for.

    Raises:
        UsageError: none is named, or two are.
    """
    if key_file is not None and keystore is None and password_file is None:
        return LocalSigner.from_key_file(key_file)
    if key_file is None and keystore is not None and password_file is not None:
        return LocalSigner.from_keystore(keystore, password_file)
    raise UsageError(
        f"there is no account to {purpose}",
        remedy="Give --key-file, or --keystore and --password-file",
    )
