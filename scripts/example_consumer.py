"""Deploy a consumer to a devnet, ask through it, and see what its callback has kept.

oracle devnet up --node
python scripts/example_consumer.py out/Gardener.sol/Gardener.json --key-file build/devnet/caller.key

The contract is the template's, as `forge build` leaves it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.logs import DISCARD
from web3.middleware import SignAndSendRawMiddlewareBuilder

from oracle import tensor
from oracle.chain import artifacts, deployments
from oracle.chain.rpc import Rpc, chain_id_of
from oracle.chain.signer import LocalSigner
from oracle.client import OracleClient
from oracle.errors import AccountUnfunded, OracleError, UsageError
from oracle.log import request_hex

FLOWER = [5.1, 3.5, 1.4, 0.2]
#: What is called of the consumer.
CALLED = {"MODEL", "CALLBACK_GAS", "ask", "isSetosa"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path, help="the consumer's, made by forge build")
    parser.add_argument("--rpc", default="http://127.0.0.1:8545")
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--timeout", type=float, default=120, help="seconds to wait for the answer")
    options = parser.parse_args()

    built = artifact_of(options.artifact)
    # Says what is wrong with the key's file, and with the endpoint.
    LocalSigner.from_key_file(options.key_file)
    rpc = Rpc([options.rpc], chain_id_of(options.rpc))
    w3 = Web3(Web3.HTTPProvider(options.rpc))
    payer = w3.eth.account.from_key(options.key_file.read_text().strip())
    w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(payer), layer=0)
    w3.eth.default_account = payer.address

    if rpc.balance(payer.address) == 0:
        raise AccountUnfunded(f"{payer.address} has no ether", remedy="Fund the account")

    # The consumer's constructor takes the oracle's address.
    address = Web3.to_checksum_address(deployments.at(rpc, options.rpc).oracle)
    oracle = w3.eth.contract(address, abi=artifacts.contract("InferenceOracle").abi)
    factory = w3.eth.contract(abi=built["abi"], bytecode=built["bytecode"]["object"])
    mined = w3.eth.wait_for_transaction_receipt(factory.constructor(address).transact())
    gardener = w3.eth.contract(mined["contractAddress"], abi=built["abi"])
    print(f"deployed {gardener.address}")

    # The registry says how the model wants its numbers; the oracle says what it costs.
    model_id = gardener.functions.MODEL().call()
    client = OracleClient(rpc, address)
    model = client.model(model_id)
    measurements = tensor.encode(
        FLOWER, model.spec.input, model.spec.codec, model.spec.input_ranges
    )
    gas = gardener.functions.CALLBACK_GAS().call()
    price = oracle.functions.estimateFee(model_id, gas).call()
    asked = gardener.functions.ask(measurements).transact({"value": price})
    mined = w3.eth.wait_for_transaction_receipt(asked)

    # A transaction returns no value: the request's id is in the oracle's event.
    (event,) = oracle.events.AICallbackRequest().process_receipt(mined, errors=DISCARD)
    request_id = event["args"]["requestId"]
    print(f"asked    {request_hex(request_id)}")

    # The callback is made in the transaction that brings the proof.
    result = client.handle(request_id, mined["blockNumber"]).wait(options.timeout)
    print(f"proved   {result.values.round(3).tolist()}")
    print(f"setosa   {gardener.functions.isSetosa(request_id).call()}")


def artifact_of(path: Path) -> dict[str, Any]:
    """What `forge build` says of the consumer."""
    try:
        built: dict[str, Any] = json.loads(path.read_text())
        names = {entry.get("name") for entry in built["abi"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no artifact of forge ({type(error).__name__})",
            remedy="Run forge build, and name out/Gardener.sol/Gardener.json",
        ) from None
    if not names >= CALLED:
        raise UsageError(
            f"the contract of {path} has no {', '.join(sorted(CALLED - names))}",
            remedy="Name the artifact of the template's Gardener",
        )
    return built


if __name__ == "__main__":
    try:
        main()
    except OracleError as failed:
        # One line: the error's code, what happened, and what to do.
        print(failed.line(), file=sys.stderr)
        sys.exit(failed.exit_code)
    except Web3Exception as failed:
        sys.exit(f"the chain refused: {failed}")
