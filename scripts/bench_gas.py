"""Gas of the protocol's transactions on anvil: ``make bench-gas``.

Writes ``build/bench/gas.json`` and prints it. Everything is measured in the steady state: accounts
have asked and been paid before. Verifiers are stubs that use a set amount of gas, so that the
figures move only with the contracts: what the generated verifiers of the demo model (4-16-16-3, one
column) were measured to use, 344,198 for one row and 486,840 for 32 (the bundle's manifest says
`verify_gas`). Requests have no callback. ``batch32_*`` are 32 requests
of one account, delivered together; ``batch32_one_request_*`` is one request of 32 rows.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.logs import DISCARD
from web3.types import TxReceipt

from oracle import tensor
from oracle.chain.artifacts import contract
from oracle.chain.registration import registration
from oracle.config import build_dir
from oracle.devnet import Anvil
from oracle.types import BatchVerifier, ModelSpec, TagLayout, TensorSpec

HARDFORK = "osaka"
VERIFY_GAS = 344_198
BATCH = 32
BATCH_VERIFY_GAS = 486_840
#: Bytes of a one-column proof.
PROOF_BYTES = 1_952
GWEI = 10**9
ETHER = 10**18
ZERO = "0x" + "00" * 20
#: Four features such as iris flowers have, and pixels; three scores.
FEATURES = TensorSpec(length=4, width=2, scale=8, minimum=-2000, maximum=2000)
PIXELS = TensorSpec(length=784, width=2, scale=8, minimum=0, maximum=256)
SCORES = TensorSpec(length=3, width=3, scale=14, minimum=-400_000, maximum=400_000)
TAG = TagLayout()


@dataclass(frozen=True, slots=True)
class Bench:
    """The contracts on anvil with a model of four numbers and one of 784."""

    anvil: Anvil
    oracle: Contract
    registry: Contract

    @property
    def accounts(self) -> list[Any]:
        """Unlocked accounts: deployer, requester, node, publisher."""
        return list(self.anvil.w3.eth.accounts)

    def send(self, call: Any, sender: int, value: int = 0, gas: int = 16_000_000) -> TxReceipt:
        """Mine a call at a base fee of one gwei; it must succeed."""
        w3 = self.anvil.w3
        w3.provider.make_request("anvil_setNextBlockBaseFeePerGas", [hex(GWEI)])  # type: ignore[arg-type]
        sent = call.transact({"from": self.accounts[sender], "value": value, "gas": gas})
        receipt = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
        if receipt["status"] != 1:
            raise RuntimeError(f"{call.fn_name} reverted")
        return receipt

    def register(self, shape: TensorSpec) -> int:
        """A model with circuits for one row and for a batch; its id."""
        verifiers = [self.deploy("MeteredVerifier", gas) for gas in (VERIFY_GAS, BATCH_VERIFY_GAS)]
        code = [keccak(bytes(self.anvil.w3.eth.get_code(v.address))) for v in verifiers]
        zero = bytes(32)
        spec = ModelSpec(
            onnx_hash=zero,
            settings_hash=zero,
            vk_hash=zero,
            srs_hash=zero,
            input=shape,
            output=SCORES,
            verifier_code_hash=code[0],
            verify_gas=VERIFY_GAS + 50_000,
            batches=(BatchVerifier(BATCH, zero, zero, zero, code[1], BATCH_VERIFY_GAS + 50_000),),
        )
        model = registration(
            spec,
            verifiers=[v.address for v in verifiers],
            fee=10**14,
            receiver=self.accounts[3],
            receiver_bps=5_000,
        )
        self.send(self.registry.functions.register(model), 3)
        return int(self.registry.functions.count().call())

    def deploy(self, name: str, *arguments: Any) -> Contract:
        """A contract under ``contracts/``."""
        w3, built = self.anvil.w3, contract(name)
        factory = w3.eth.contract(abi=built.abi, bytecode=built.bytecode)
        sent = factory.constructor(*arguments).transact({"from": self.accounts[0]})
        address = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)["contractAddress"]
        if address is None:
            raise RuntimeError(f"{name} was not deployed")
        return w3.eth.contract(address=address, abi=built.abi)

    def request(self, model_id: int, numbers: Sequence[int]) -> TxReceipt:
        """Ask through ORA's call."""
        data = tensor.pack(numbers, 2)
        call = self.oracle.get_function_by_signature(
            "requestCallback(uint256,bytes,address,uint64,bytes)"
        )
        return self.send(call(model_id, data, ZERO, 0, b""), 1, ETHER // 100)

    def request_batch(self, model_id: int, numbers: Sequence[int]) -> TxReceipt:
        """Ask about a full batch in one request."""
        data = tensor.pack(numbers, 2)
        call = self.oracle.functions.requestBatchInference
        return self.send(call(BATCH, model_id, data, ZERO, 0, b"", 0, 0), 1, ETHER // 10)

    def item(self, receipt: TxReceipt) -> tuple[Any, ...]:
        """Id, preimage, input and callback data of the request that a receipt has."""
        (asked,) = self.oracle.events.AICallbackRequest().process_receipt(receipt, DISCARD)
        (opened,) = self.oracle.events.RequestOpened().process_receipt(receipt, DISCARD)
        made, terms = asked["args"], opened["args"]
        preimage = (
            made["account"],
            made["modelId"],
            made["callbackContract"],
            made["gasLimit"],
            terms["refundTo"],
            terms["deadline"],
            terms["fee"],
            terms["gasMoney"],
            terms["gasUnits"],
            terms["protocolBps"],
            keccak(made["input"]),
            keccak(made["callbackData"]),
        )
        return made["requestId"], preimage, made["input"], made["callbackData"]

    def fulfil(self, receipt: TxReceipt, size: int = 1) -> TxReceipt:
        """Deliver one request with the circuit for ``size`` rows."""
        arguments = (*self.item(receipt), self.accounts[2], _scores(size), _proof())
        return self.send(self.oracle.functions.fulfill(*arguments), 2)

    def fulfil_batch(self, receipts: Sequence[TxReceipt]) -> TxReceipt:
        """Deliver a full batch."""
        items = [self.item(receipt) for receipt in receipts]
        call = self.oracle.functions.fulfillBatch(items, self.accounts[2], _scores(BATCH), _proof())
        return self.send(call, 2)

    def bare_verification(self) -> int:
        """Gas of a transaction that calls the single-row verifier and nothing else."""
        verifier = self.deploy("MeteredVerifier", VERIFY_GAS)
        instances = [0] * (FEATURES.length + TAG.limbs + SCORES.length)
        receipt = self.send(verifier.functions.verifyProof(_proof(), instances), 2)
        return int(receipt["gasUsed"])


def _scores(rows: int) -> list[int]:
    numbers = random.Random(rows)  # noqa: S311 -- data, not secrets
    values = [numbers.randint(SCORES.minimum, SCORES.maximum) for _ in range(3 * rows)]
    return [tensor.to_field(value) for value in values]


def _proof() -> bytes:
    return random.Random(0).randbytes(PROOF_BYTES)  # noqa: S311 -- data, not secrets


def measure() -> dict[str, Any]:
    """The figures, by name; gas unless the name says otherwise."""
    numbers = random.Random(1)  # noqa: S311 -- data, not secrets
    features = [numbers.randint(FEATURES.minimum, FEATURES.maximum) for _ in range(4)]
    pixels = [numbers.randint(PIXELS.minimum, PIXELS.maximum) for _ in range(784)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "anvil.log"
        with Anvil(log, "--hardfork", HARDFORK, "--order", "fifo") as anvil:
            empty = Bench(anvil, None, None)  # type: ignore[arg-type]
            registry = empty.deploy("ModelRegistry")
            oracle = empty.deploy("InferenceOracle", registry.address, empty.accounts[0])
            bench = Bench(anvil, oracle, registry)
            small, image = bench.register(FEATURES), bench.register(PIXELS)
            bench.fulfil(bench.request(small, features))
            asked = bench.request(small, features)
            done = bench.fulfil(asked)
            wide = bench.request(image, pixels)
            batch = [bench.request(small, features) for _ in range(BATCH)]
            together = bench.fulfil_batch(batch)
            rows = bench.request_batch(small, features * BATCH)
            at_once = bench.fulfil(rows, BATCH)
            bare = bench.bare_verification()
    request_4 = int(asked["gasUsed"])
    batch_each = -(-int(together["gasUsed"]) // BATCH)
    return {
        "request_4": request_4,
        "request_784": int(wide["gasUsed"]),
        "fulfil": int(done["gasUsed"]),
        "fulfil_overhead": int(done["gasUsed"]) - bare,
        "batch32_fulfil_per_inference": batch_each,
        "batch32_all_in_per_inference": request_4 + batch_each,
        "batch32_one_request_all_in_per_inference": -(
            -(int(rows["gasUsed"]) + int(at_once["gasUsed"])) // BATCH
        ),
        "hardfork": HARDFORK,
        "verifier": f"stub of {VERIFY_GAS} gas for one row, {BATCH_VERIFY_GAS} for {BATCH}",
    }


def main() -> None:
    text = json.dumps(measure(), indent=2) + "\n"
    target = build_dir() / "bench" / "gas.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
