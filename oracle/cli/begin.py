"""``oracle node init`` and ``oracle node srs``: what a node needs before its first start."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from oracle.cli.options import examples
from oracle.cli.progress import waiting
from oracle.errors import UsageError

_Url = Annotated[
    str | None,
    typer.Option(help="Where missing SRS files are downloaded from: the address before /kzgK.srs."),
]
_From = Annotated[
    Path | None, typer.Option(help="A folder that has the SRS files: linked, or copied.")
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_EXAMPLE = "oracle node init --rpc https://rpc.example.org --bundle models/iris --srs-from srs"

INIT = examples(_EXAMPLE, "oracle node init --folder /etc/oracle-node")
SRS = examples("oracle node srs models/iris --srs-from /mnt/srs")


def init(
    folder: Annotated[Path, typer.Option(help="Where the node's files will be.")] = Path(),
    rpc: Annotated[
        list[str] | None, typer.Option(help="RPC endpoint, best first; may be repeated.")
    ] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option(help="Folder of a model to prove; may be repeated.")
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(help="The oracle contract; by default the one recorded for the chain."),
    ] = None,
    start_block: Annotated[
        int | None,
        typer.Option(help="First block to read; by default the recorded one, or 0.", min=0),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="An account's key in hex (mode 0600); by default a new account."),
    ] = None,
    srs_dir: Annotated[
        Path | None, typer.Option(help="Folder of the SRS files; by default srs beside the bundle.")
    ] = None,
    srs_url: _Url = None,
    srs_from: _From = None,
    http_port: Annotated[
        int, typer.Option(help="Port of the node's page.", min=0, max=65_535)
    ] = 9464,
    as_json: _Json = False,
) -> None:
    """Set a node up: SRS files, a new account, node.toml; overwrites nothing.

    Asks for what is left out, in a terminal. Ends with what to fund and what to run next.
    """
    from oracle.chain.rpc import chain_id_of
    from oracle.cli.chain import address_of
    from oracle.setup import Wanted, begin

    urls = tuple(rpc or _asked("RPC endpoint (http...)", "--rpc"))
    if not bundle:
        # Before the next question: an answer to it would be in vain.
        chain_id_of(urls[0])
    bundles = tuple(bundle or map(Path, _asked("Folder of the model's bundle", "--bundle")))
    wanted = Wanted(
        folder=folder,
        rpc_urls=urls,
        bundles=bundles,
        oracle=None if oracle is None else address_of(oracle, "--oracle"),
        start_block=start_block,
        key_file=key_file,
        srs_dir=srs_dir,
        srs_url=srs_url,
        srs_from=srs_from,
        http_port=http_port,
    )
    with waiting("Setting up") as detail:
        begun = begin(wanted, detail)
    following = f"oracle node check --config {shlex.quote(str(begun.config))}"
    if as_json:
        report = {
            "config": str(begun.config),
            "account": begun.account,
            "is_new": begun.is_new,
            "srs": [str(path) for path in begun.srs],
            "balance": begun.balance,
            "missing": begun.missing,
            "next": following,
        }
        typer.echo(json.dumps(report, indent=2))
        return
    made = "made now; keep keystore.json and password" if begun.is_new else "as it was"
    lines = [
        f"configuration  {begun.config}",
        *(f"SRS            {path}" for path in begun.srs),
        f"account        {begun.account} ({made})",
        f"balance        {begun.balance} wei",
    ]
    if begun.missing:
        ether = f"{begun.missing / 10**18:.6f}".rstrip("0").rstrip(".")
        lines.append(f"Fund {begun.account} with at least {begun.missing} wei ({ether} ETH). Then:")
    else:
        lines.append("Next:")
    typer.echo("\n".join([*lines, following]))


def srs(
    bundles: Annotated[list[Path], typer.Argument(help="Folders of the models.")],
    into: Annotated[
        Path | None,
        typer.Option(help="Where the files are to be; by default where the node looks for them."),
    ] = None,
    srs_url: _Url = None,
    srs_from: _From = None,
    as_json: _Json = False,
) -> None:
    """Have the SRS files that bundles need, each checked by its hash."""
    from oracle.circuits.srs import default_folder
    from oracle.setup import fetch

    with waiting("Having") as detail:
        found = fetch(bundles, into or default_folder(bundles[0]), srs_url, srs_from, detail)
    paths = [str(path) for path in found]
    typer.echo(json.dumps({"srs": paths}) if as_json else "\n".join(paths))


def _asked(question: str, option: str) -> list[str]:
    if not _is_asked():
        raise UsageError(f"{option} is missing", remedy=f"For example: {_EXAMPLE}")
    try:
        return [str(typer.prompt(question, err=True))]
    except typer.Abort:
        raise UsageError(
            f"{option} was not answered, and nothing was done", remedy=f"For example: {_EXAMPLE}"
        ) from None


def _is_asked() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()
