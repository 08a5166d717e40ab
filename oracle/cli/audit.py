"""``oracle model audit``: is this bundle what it claims, and is it what the chain has."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oracle.chain.contracts import OracleContract, RegistryContract, code_hash
from oracle.circuits.audit import Audit, OnChain
from oracle.circuits.audit import audit as audit_bundle
from oracle.circuits.build import LIMITS
from oracle.circuits.srs import SrsSource
from oracle.cli.chain import LOCAL, ChainId, Oracle, address_of, chain_of, endpoint_of
from oracle.cli.options import Json, SrsFolder, SrsUrl
from oracle.cli.progress import report
from oracle.config import build_dir
from oracle.errors import AuditFailed, UsageError
from oracle.types import ZERO_ADDRESS

#: Differences that an error names.
_NAMED = 3
#: Characters of a hash that a table shows.
_SHOWN = 24


def audit(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    model: Annotated[
        Path | None, typer.Option(help="The publisher's ONNX file, to be compared with, too.")
    ] = None,
    model_id: Annotated[
        int | None, typer.Option(help="Compare with this model of a registry, too.", min=1)
    ] = None,
    rpc: Annotated[
        str | None, typer.Option(help=f"RPC endpoint of the chain; by default {LOCAL}.")
    ] = None,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    registry: Annotated[
        str | None, typer.Option(help="Address of the registry, instead of the oracle's.")
    ] = None,
    srs: SrsFolder = None,
    srs_url: SrsUrl = None,
    as_json: Json = False,
) -> None:
    """Make keys and verifier again from model, settings and SRS; compare with bundle and chain.

    Exits with 4 and names what differs if anything does.
    """
    on_chain = None
    if model_id is not None:
        on_chain = _on_chain(model_id, rpc, chain_id, oracle, registry)
    elif any(option is not None for option in (rpc, chain_id, oracle, registry)):
        raise UsageError(
            "there is no model to compare with on the chain", remedy="Give its --model-id"
        )
    strings = SrsSource(srs or build_dir() / "srs", url=srs_url)
    with report().step(f"Audit {bundle}") as detail:
        found = audit_bundle(
            bundle, strings, LIMITS, source=model, on_chain=on_chain, progress=detail
        )
    if as_json:
        typer.echo(json.dumps(_values(found)))
    else:
        _show(Console(), found)
    if found.differences:
        named = [each.subject for each in found.differences]
        raise AuditFailed(
            f"{len(named)} of {len(found.checks)} checks failed: {', '.join(named[:_NAMED])}"
            f"{' ...' if len(named) > _NAMED else ''}",
            remedy="Do not trust this bundle before each difference is explained",
        )


def _on_chain(
    model_id: int,
    rpc: str | None,
    chain_id: int | None,
    oracle: str | None,
    registry: str | None,
) -> OnChain:
    if oracle is not None and registry is not None:
        raise UsageError(
            "the chain's model cannot be found",
            remedy="Give at most one of --oracle and --registry",
        )
    url = LOCAL if rpc is None else rpc
    if registry is None:
        chain = chain_of(url, chain_id, oracle)
        endpoint, address = chain.rpc, OracleContract(chain.rpc, chain.oracle).registry()
    else:
        endpoint, address = endpoint_of(url, chain_id), address_of(registry, "--registry")
    contract = RegistryContract(endpoint, address)
    model = contract.model(model_id)
    if model is None:
        raise UsageError(
            f"the registry has no model {model_id}",
            remedy=f"Choose an id from 1 to {contract.count()}",
        )
    addresses = (model.verifier, *model.batch_verifiers)
    hashes = tuple(code_hash(endpoint, each) for each in addresses)
    checker = model.input_checker
    return OnChain(
        endpoint.chain_id,
        model,
        hashes,
        contract.trust(model_id),
        None if checker == ZERO_ADDRESS else code_hash(endpoint, checker),
    )


def _values(found: Audit) -> dict[str, object]:
    return {
        "name": found.name,
        "bundle_id": found.bundle_id,
        "ok": not found.differences,
        "srs_unsafe": found.srs_unsafe,
        "checks": [{**dataclasses.asdict(check), "ok": check.ok} for check in found.checks],
    }


def _show(console: Console, found: Audit) -> None:
    # The bundle chose these texts: they are no markup.
    console.print(escape(f"\n{found.name}  {found.bundle_id}"), highlight=False, soft_wrap=True)
    table = Table("", "compared", "value")
    for check in found.checks:
        if check.ok:
            table.add_row("[green]=[/]", check.subject, escape(_short(check.found)))
        else:
            table.add_row(
                "[bold red]≠[/]",
                f"[bold]{check.subject}[/]",
                f"[red]{escape(check.found)}[/]\nexpected {escape(check.expected)}",
            )
    console.print(table)
    if found.srs_unsafe:
        console.print("[yellow]UNSAFE SRS:[/] whoever made it can forge proofs; devnet only")


def _short(value: str) -> str:
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
