"""``oracle node move-store``: from a SQLite file to a PostgreSQL database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from oracle.cli.options import examples
from oracle.config import load_node_config
from oracle.errors import UsageError
from oracle.store.move import move

EXAMPLES = examples("oracle node move-store postgresql://oracle@db.example/oracle")


def move_store(
    target: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="An empty database, postgresql://USER@HOST:PORT/DATABASE. Other users of this "
            "machine see a command's words: leave the password to a file that PGPASSFILE names.",
        ),
    ],
    config: Annotated[Path, typer.Option("--config", help="The node's TOML file.")] = Path(
        "node.toml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Copy the ledger of a stopped node, history included, to PostgreSQL; all of it or nothing.

    The SQLite file stays as it is. What was written is read again and compared before it is kept.
    Ends with the line to put into the configuration.
    """
    settings = load_node_config(config)
    if not isinstance(settings.store, Path):
        raise UsageError(
            f"the store of {config} is a PostgreSQL database already",
            remedy="Only a SQLite file is moved",
        )
    if not target.startswith(("postgresql://", "postgres://")):
        raise UsageError(
            "the target is no PostgreSQL database",
            remedy="Write it as postgresql://USER@HOST:PORT/DATABASE",
        )
    url = SecretStr(target)
    moved = move(settings.store, url, settings.chain_id, settings.oracle)
    # Imported after it was used: its driver may be missing, which has an error of its own.
    from oracle.store.postgres import without_password

    shown = without_password(url)
    if as_json:
        typer.echo(json.dumps({"rows": moved, "store": shown}, indent=2))
        return
    for name, rows in moved.items():
        typer.echo(f"{rows:>9}  {name}")
    typer.echo(f"\n{settings.store} stays as it is: start no node on it any more.")
    if shown != target:
        typer.echo("The password is left out: write it into a file that PGPASSFILE names.")
    typer.echo(f"Put this into {config}, in place of store:\n\nstore = {json.dumps(shown)}")
