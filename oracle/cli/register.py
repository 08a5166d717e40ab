"""``oracle model register``: a bundle becomes a model that can be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oracle.chain.contracts import OracleContract
from oracle.chain.deployments import record_model
from oracle.chain.signer import LocalSigner
from oracle.circuits.bundle import Bundle
from oracle.cli.demo import ConsoleReport
from oracle.cli.options import Json, KeyFile, Keystore, PasswordFile, SrsFolder
from oracle.cli.request import address_of, oracle_of, rpc_of
from oracle.deployer import deployed_model
from oracle.errors import UsageError
from oracle.publisher import register as register_bundle


def register(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    rpc: Annotated[str, typer.Option(help="RPC endpoint of the chain.")],
    chain_id: Annotated[int, typer.Option(help="The chain that it must serve.", min=1)],
    oracle: Annotated[
        str | None, typer.Option(help="Address of the oracle contract; by default as deployed.")
    ] = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    key_file: KeyFile = None,
    fee: Annotated[int, typer.Option(help="Price of one inference in wei.", min=0)] = 0,
    receiver: Annotated[
        str | None, typer.Option(help="Who gets the publisher's share; by default the account.")
    ] = None,
    receiver_bps: Annotated[
        int, typer.Option(help="That share of the fee in basis points.", min=0, max=10_000)
    ] = 0,
    srs: SrsFolder = None,
    as_json: Json = False,
) -> None:
    """Deploy the bundle's verifiers and register its model; both are for good.

    Example: oracle model register iris-bundle --rpc http://127.0.0.1:8545 --chain-id 31337
    --keystore publisher.json --password-file publisher.password --fee 1000000000
    """
    signer = signer_of(keystore, password_file, key_file, "register")
    endpoint = rpc_of(rpc, chain_id)
    share_to = None if receiver is None else address_of(receiver, "--receiver")
    loaded = Bundle.load(bundle, srs)
    loaded.require_safe(chain_id)
    registry = OracleContract(endpoint, oracle_of(oracle, chain_id)).registry()
    with ConsoleReport(Console(stderr=True)).step(f"Register {loaded.name}") as detail:
        found = register_bundle(
            loaded,
            endpoint,
            registry,
            signer,
            fee=fee,
            receiver=share_to,
            receiver_bps=receiver_bps,
            progress=detail,
        )
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "model_id": found.model_id,
                    "verifiers": found.verifiers,
                    "transaction": "0x" + found.transaction_hash.hex(),
                    "gas_used": found.gas_used,
                }
            )
        )
    else:
        typer.echo(f"model {found.model_id}; {found.gas_used:,} gas")
    record_model(chain_id, registry, deployed_model(loaded, found))


def signer_of(
    keystore: Path | None, password_file: Path | None, key_file: Path | None, purpose: str
) -> LocalSigner:
    """The account that the options name.

    Raises:
        UsageError: they name none, or more than one.
    """
    if (key_file is None) == (keystore is None) or (keystore is None) != (password_file is None):
        raise UsageError(
            f"there is no account to {purpose} with",
            remedy="Give --keystore and --password-file, or --key-file",
        )
    if keystore is not None and password_file is not None:
        return LocalSigner.from_keystore(keystore, password_file)
    return LocalSigner.from_key_file(Path(str(key_file)))
