"""``oracle deploy``: registry and oracle on a chain, and where they are in ``deployments/``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from oracle.chain.deployments import deployment_path
from oracle.circuits.bundle import Bundle
from oracle.cli.chain import (
    LOCAL,
    ChainId,
    KeyFile,
    Keystore,
    PasswordFile,
    Url,
    address_of,
    endpoint_of,
    signer_of,
)
from oracle.cli.options import Json, SrsFolder, examples
from oracle.cli.progress import report
from oracle.deployer import deploy as deploy_contracts
from oracle.deployer import deploy_adapter, deploy_model

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command(
    epilog=examples(
        "oracle deploy --keystore deployer.json --password-file deployer.password",
        "oracle deploy --rpc https://rpc.example --chain-id 11155111 "
        "--keystore deployer.json --password-file deployer.password --bundle my-bundle",
    )
)
def deploy(
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    key_file: KeyFile = None,
    owner: Annotated[
        str | None, typer.Option(help="May pause new requests; the account by default.")
    ] = None,
    ora_adapter: Annotated[
        bool,
        typer.Option(
            "--ora-adapter",
            help="An adapter for consumers written for ORA as well; the owner gives ids to models there.",
        ),
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle, to register its model as well.")
    ] = None,
    fee: Annotated[int, typer.Option(help="Its price of one inference in wei.", min=0)] = 0,
    receiver_bps: Annotated[
        int, typer.Option(help="The account's share of it in basis points.", min=0, max=10_000)
    ] = 0,
    srs: SrsFolder = None,
    as_json: Json = False,
) -> None:
    """Deploy the contracts, or go on with a run that was interrupted; sends nothing if all is there.

    Writes deployments/CHAIN_ID.json, and deployments/CHAIN_ID/verify/ for block explorers.
    """
    endpoint = endpoint_of(rpc, chain_id)
    chosen = None if owner is None else address_of(owner, "--owner")
    signer = signer_of(key_file, keystore, password_file, "deploy with")
    loaded = None if bundle is None else Bundle.load(bundle, srs)
    if loaded is not None:
        loaded.require_safe(endpoint.chain_id)
    steps = report()
    with steps.step(f"Deploy on chain {endpoint.chain_id}") as detail:
        found, is_new = deploy_contracts(endpoint, signer, owner=chosen, progress=detail)
        detail("done" if is_new else "all there, as recorded; nothing sent")
    adapter = None
    if ora_adapter:
        with steps.step("Adapter for consumers written for ORA") as detail:
            adapter, _ = deploy_adapter(endpoint, signer, owner=chosen, progress=detail)
    model = None
    if loaded is not None:
        with steps.step(f"Register {loaded.name}") as detail:
            model = deploy_model(
                endpoint, signer, loaded, fee=fee, receiver_bps=receiver_bps, progress=detail
            )
    path = deployment_path(endpoint.chain_id)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "oracle": found.oracle,
                    "registry": found.registry,
                    "block": found.block,
                    "deployed": is_new,
                    "adapter": adapter,
                    "record": str(path),
                    "model": None if model is None else dataclasses.asdict(model),
                }
            )
        )
    else:
        typer.echo(f"oracle {found.oracle}, registry {found.registry}; recorded in {path}")
        if adapter is not None:
            typer.echo(f"adapter {adapter}")
        if model is not None:
            typer.echo(f"model {model.model_id}: {model.name}")
