"""Ask a model from Python, in three ways: one row, several at once, and without blocking.

oracle devnet up --node
python scripts/example_client.py --key-file build/devnet/caller.key
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import numpy as np

from oracle.chain import deployments
from oracle.chain.rpc import Rpc, chain_id_of
from oracle.chain.signer import LocalSigner
from oracle.client import Array, OracleClient
from oracle.config import project_root
from oracle.errors import OracleError

LABELS = ("setosa", "versicolor", "virginica")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rpc", default="http://127.0.0.1:8545")
    parser.add_argument("--key-file", type=Path, required=True)
    options = parser.parse_args()

    rpc = Rpc([options.rpc], chain_id_of(options.rpc))
    oracle = deployments.at(rpc, options.rpc).oracle
    client = OracleClient(rpc, oracle, LocalSigner.from_key_file(options.key_file))
    flowers = np.load(project_root() / "scripts" / "models" / "iris_samples.npy")[::40]

    # One row: the call returns when the request is mined; then wait for its proof.
    handle = client.request(1, flowers[0])
    print(f"asked    {handle.request_id:#066x}")
    result = handle.wait(timeout=60)
    print(f"proved   {name(result.values)} {result.values.round(3).tolist()}")

    # Several, without blocking: each is a request of its own, and they are proved meanwhile.
    for values in asyncio.run(ask_all(client, flowers)):
        print(f"proved   {name(values)} {values.round(3).tolist()}")

    # What does not fit the model is refused before anything is sent; every error has a code.
    try:
        client.request(1, [1.0, 2.0])
    except OracleError as error:
        print(f"refused  {error.line()}")


async def ask_all(client: OracleClient, rows: Array) -> list[Array]:
    """The answers to several requests that are under way together."""

    async def ask(row: Array) -> Array:
        handle = await asyncio.to_thread(client.request, 1, row)
        return (await handle.answered(timeout=600)).values

    return await asyncio.gather(*map(ask, rows))


def name(scores: Array) -> str:
    return LABELS[int(np.argmax(scores))]


if __name__ == "__main__":
    try:
        main()
    except OracleError as error:
        # One line: the error's code, what happened, and what to do.
        print(error.line(), file=sys.stderr)
        sys.exit(error.exit_code)
