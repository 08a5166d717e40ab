"""``oracle model register``: a bundle becomes a model that can be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from oracle.chain.contracts import OracleContract
from oracle.chain.deployments import record_model
from oracle.circuits.bundle import Bundle
from oracle.circuits.promise import Kind
from oracle.cli.chain import (
    LOCAL,
    ChainId,
    KeyFile,
    Keystore,
    Oracle,
    PasswordFile,
    Url,
    address_of,
    chain_of,
    signer_of,
)
from oracle.cli.following import Given
from oracle.cli.options import Json, SrsFolder
from oracle.cli.progress import report
from oracle.deployer import deployed_model
from oracle.publisher import register as register_bundle


def register(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
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
    """Deploy the bundle's verifiers, and what holds its input ranges, and register its model.

    All of it is for good.
    """
    signer = signer_of(key_file, keystore, password_file, "register with")
    chain = chain_of(rpc, chain_id, oracle)
    share_to = None if receiver is None else address_of(receiver, "--receiver")
    loaded = Bundle.load(bundle, srs)
    loaded.require_safe(chain.rpc.chain_id)
    registry = OracleContract(chain.rpc, chain.oracle).registry()
    with report().step(f"Register {loaded.name}") as detail:
        found = register_bundle(
            loaded,
            chain.rpc,
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
                    "input_checker": found.input_checker if loaded.spec.input_ranges else None,
                    "transaction": "0x" + found.transaction_hash.hex(),
                    "gas_used": found.gas_used,
                    "promise": loaded.stated.kind,
                }
            )
        )
    else:
        typer.echo(f"model {found.model_id}; {found.gas_used:,} gas")
        if loaded.stated.kind == Kind.SAMPLES:
            typer.echo("its bound is measured on samples alone and promised for no input")
        given = Given(rpc, chain_id, oracle, None, key_file, keystore, password_file)
        following = given.whole(f"oracle request VALUES --model {found.model_id}")
        typer.echo(
            f"Next: a node answers once the bundle's folder is in its bundles; then {following}"
        )
    record_model(chain.rpc.chain_id, registry, deployed_model(loaded, found))
