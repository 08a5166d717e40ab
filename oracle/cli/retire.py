"""``oracle model close`` and ``oracle model succeed``: what is left to a publisher. For good."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from oracle import retiring
from oracle.cli.chain import (
    LOCAL,
    ChainId,
    KeyFile,
    Keystore,
    Oracle,
    PasswordFile,
    Url,
    chain_of,
    signer_of,
)
from oracle.cli.following import Given
from oracle.cli.options import Json, examples
from oracle.cli.progress import waiting
from oracle.cli.registered import registry_of

CLOSE = examples(
    "oracle model close 2 --key-file build/devnet/caller.key",
    "oracle model close 1 --rpc https://rpc.example --chain-id 11155111 "
    "--keystore publisher.json --password-file publisher.password",
)
SUCCEED = examples("oracle model succeed 2 3 --key-file build/devnet/caller.key")
_ModelId = Annotated[int, typer.Argument(help="The model's id.", metavar="MODEL", min=1)]


def close(
    model_id: _ModelId,
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Stop new requests for a model of the account's, for good; open ones may still be answered."""
    signer = signer_of(key_file, keystore, password_file, "close it with")
    chain = chain_of(rpc, chain_id, oracle)
    given = Given(rpc, chain_id, oracle, None, key_file, keystore, password_file)
    with given.told(), waiting("Closing the model"):
        registry = registry_of(chain)
        receipt = retiring.close(chain.rpc, registry, signer, model_id)
        successor = registry.successor(model_id)
    if as_json:
        said = {
            "model_id": model_id,
            "successor": successor,
            "transaction": "0x" + receipt.transaction_hash.hex(),
            "gas_used": receipt.gas_used,
        }
        typer.echo(json.dumps(said))
        return
    typer.echo(f"model {model_id} is closed; {receipt.gas_used:,} gas")
    if successor is None:
        typer.echo(
            "To name the model that replaces it: "
            + given.whole(f"oracle model succeed {model_id} NEW")
        )


def succeed(
    model_id: _ModelId,
    successor: Annotated[
        int, typer.Argument(help="The id of the model that replaces it.", metavar="NEW", min=1)
    ],
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Name the model that replaces one of the account's, once and for good; closes neither."""
    signer = signer_of(key_file, keystore, password_file, "name a successor with")
    chain = chain_of(rpc, chain_id, oracle)
    given = Given(rpc, chain_id, oracle, None, key_file, keystore, password_file)
    with given.told(), waiting("Naming the successor"):
        registry = registry_of(chain)
        receipt = retiring.succeed(chain.rpc, registry, signer, model_id, successor)
        is_open = registry.is_open(model_id)
    if as_json:
        said = {
            "model_id": model_id,
            "successor": successor,
            "is_open": is_open,
            "transaction": "0x" + receipt.transaction_hash.hex(),
            "gas_used": receipt.gas_used,
        }
        typer.echo(json.dumps(said))
        return
    typer.echo(f"model {successor} is the successor of model {model_id}; {receipt.gas_used:,} gas")
    if is_open:
        typer.echo(
            f"model {model_id} takes requests as before. To stop them: "
            + given.whole(f"oracle model close {model_id}")
        )
