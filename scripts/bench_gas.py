"""Gas of the protocol's transactions on anvil: ``make bench-gas``.

Writes ``build/bench/gas.json`` and prints it. The verifiers are the generated ones of the demo model
(4-16-16-3, one column) for one row and for 32, and so are the proofs. Everything is measured in the
steady state: accounts have asked and been paid before. A request asks something new, but for
``request_4_repeated``, which asks what its account asked before. Requests have no callback.
``batch32_*`` are 32 requests of one account, delivered together; ``batch32_one_request_*`` is one
request of 32 rows. ``request_784_ranges`` asks a model whose input elements have ranges of their own.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.logs import DISCARD
from web3.types import TxReceipt

from oracle import tensor
from oracle.chain.artifacts import contract
from oracle.chain.input_ranges import creation_code
from oracle.chain.registration import registration
from oracle.circuits.build import build_cached
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource
from oracle.config import build_dir, project_root
from oracle.devnet import Anvil
from oracle.errors import OracleError
from oracle.prover.base import memory_cap
from oracle.prover.local import LocalProver
from oracle.types import ZERO_ADDRESS, ModelSpec, Proof, ProofJob, TensorSpec

HARDFORK = "osaka"
BATCH = 32
GWEI = 10**9
ETHER = 10**18
#: Pixels of an image of 28 by 28.
PIXELS = TensorSpec(length=784, width=2, scale=8, minimum=0, maximum=256)
PROOF_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Bench:
    """The contracts on anvil, and what proves."""

    anvil: Anvil
    oracle: Contract
    registry: Contract
    bundle: Bundle
    prover: LocalProver

    @property
    def accounts(self) -> list[Any]:
        """Unlocked accounts: deployer, requester, node, publisher."""
        return list(self.anvil.w3.eth.accounts)

    def register(self, spec: ModelSpec, verifiers: Sequence[Contract]) -> int:
        """A model with these verifiers; its id."""
        model = registration(
            spec,
            verifiers=[verifier.address for verifier in verifiers],
            fee=10**14,
            receiver=self.accounts[3],
            receiver_bps=5_000,
            input_checker=self._checker(spec),
        )
        send(self.anvil, self.registry.functions.register(model), self.accounts[3])
        return int(self.registry.functions.count().call())

    def _checker(self, spec: ModelSpec) -> str:
        if not spec.input_ranges:
            return ZERO_ADDRESS
        return str(deploy(self.anvil, [], creation_code(spec.input_ranges)).address)

    def request(self, model_id: int, numbers: Sequence[int], width: int) -> TxReceipt:
        """Ask through ORA's call."""
        call = self.oracle.get_function_by_signature(
            "requestCallback(uint256,bytes,address,uint64,bytes)"
        )
        data = tensor.pack(numbers, width)
        asked = call(model_id, data, ZERO_ADDRESS, 0, b"")
        return send(self.anvil, asked, self.accounts[1], ETHER // 100)

    def request_batch(self, model_id: int, numbers: Sequence[int], width: int) -> TxReceipt:
        """Ask about a full batch in one request."""
        call = self.oracle.functions.requestBatchInference
        data = tensor.pack(numbers, width)
        asked = call(BATCH, model_id, data, ZERO_ADDRESS, 0, b"", 0, 0)
        return send(self.anvil, asked, self.accounts[1], ETHER // 10)

    def prove(self, receipts: Sequence[TxReceipt]) -> Proof:
        """A proof that answers these requests together, for the node's account."""
        spec = self.bundle.spec
        items = [opened(self.oracle, receipt) for receipt in receipts]
        data = b"".join(item[2] for item in items)
        all_rows = replace(spec.input, length=len(data) // spec.input.width)
        inputs = tensor.unpack(data, all_rows)
        circuit = self.bundle.fitting(len(inputs) // spec.input.length).circuit
        ids = [item[0] for item in items]
        chain_id = self.anvil.w3.eth.chain_id
        tag = tensor.tag(chain_id, self.oracle.address, ids, self.accounts[2], spec.tag)
        self.prover.submit(
            ProofJob("bench", circuit, inputs, tag, PROOF_TIMEOUT, memory_cap(circuit))
        )
        while not (ended := self.prover.poll()):
            time.sleep(0.01)
        result = ended[0].result
        if isinstance(result, OracleError):
            raise result
        return result

    def fulfil(self, receipt: TxReceipt) -> tuple[TxReceipt, Proof]:
        """Prove and deliver one request, of one row or several."""
        proof = self.prove([receipt])
        call = self.oracle.functions.fulfill(
            *opened(self.oracle, receipt), self.accounts[2], _outputs(proof), proof.proof
        )
        return send(self.anvil, call, self.accounts[2]), proof

    def fulfil_batch(self, receipts: Sequence[TxReceipt]) -> tuple[TxReceipt, Proof]:
        """Prove and deliver a full batch."""
        proof = self.prove(receipts)
        items = [opened(self.oracle, receipt) for receipt in receipts]
        call = self.oracle.functions.fulfillBatch(
            items, self.accounts[2], _outputs(proof), proof.proof
        )
        return send(self.anvil, call, self.accounts[2]), proof

    def verify(self, verifier: Contract, proof: Proof) -> int:
        """Gas of a transaction that calls a verifier and nothing else."""
        call = verifier.functions.verifyProof(proof.proof, list(proof.instances))
        return int(send(self.anvil, call, self.accounts[2])["gasUsed"])


def opened(oracle: Contract, receipt: TxReceipt) -> tuple[int, tuple[Any, ...], bytes, bytes]:
    """Id, preimage, input and callback data of the request that a receipt has."""
    (asked,) = oracle.events.AICallbackRequest().process_receipt(receipt, DISCARD)
    (terms,) = oracle.events.RequestOpened().process_receipt(receipt, DISCARD)
    made, agreed = asked["args"], terms["args"]
    preimage = (
        made["account"],
        made["modelId"],
        made["callbackContract"],
        made["gasLimit"],
        agreed["refundTo"],
        agreed["deadline"],
        agreed["fee"],
        agreed["gasMoney"],
        agreed["gasUnits"],
        agreed["protocolBps"],
        keccak(made["input"]),
        keccak(made["callbackData"]),
    )
    return made["requestId"], preimage, made["input"], made["callbackData"]


def send(anvil: Anvil, call: Any, sender: str, value: int = 0) -> TxReceipt:
    """Mine a call at a base fee of one gwei; it must succeed."""
    w3 = anvil.w3
    w3.provider.make_request("anvil_setNextBlockBaseFeePerGas", [hex(GWEI)])  # type: ignore[arg-type]
    sent = call.transact({"from": sender, "value": value, "gas": 16_000_000})
    receipt = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
    if receipt["status"] != 1:
        raise RuntimeError(f"{call.fn_name} reverted")
    return receipt


def deploy(anvil: Anvil, abi: Any, bytecode: bytes, *arguments: Any) -> Contract:
    """A contract on the devnet."""
    w3 = anvil.w3
    factory = w3.eth.contract(abi=abi, bytecode=bytecode)
    sent = factory.constructor(*arguments).transact({"from": w3.eth.accounts[0]})
    address = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)["contractAddress"]
    if address is None:
        raise RuntimeError("a contract was not deployed")
    return w3.eth.contract(address=address, abi=abi)


def demo_bundle() -> Bundle:
    """The demo model for one row and for a full batch; half a minute where it is not cached."""
    models = project_root() / "scripts" / "models"
    return build_cached(
        models / "iris.onnx",
        np.load(models / "iris_samples.npy"),
        name="iris",
        max_error=0.1,
        srs=SrsSource(build_dir() / "srs", unsafe=True),
        batches=(1, BATCH),
    )


def _outputs(proof: Proof) -> list[int]:
    return [tensor.to_field(value) for value in proof.outputs]


def measure(bundle: Bundle) -> dict[str, Any]:
    """The figures, by name; gas unless the name says otherwise."""
    numbers = random.Random(1)  # noqa: S311 -- data, not secrets
    shape = bundle.spec.input

    def rows(count: int = 1) -> list[int]:
        size = count * shape.length
        return [numbers.randint(shape.minimum, shape.maximum) for _ in range(size)]

    pixels = [numbers.randint(PIXELS.minimum, PIXELS.maximum) for _ in range(PIXELS.length)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prover = LocalProver(folder / "jobs")
        with Anvil(folder / "anvil.log", "--hardfork", HARDFORK, "--order", "fifo") as anvil:
            bench = _deployed(anvil, bundle, prover)
            single, wide = [
                deploy(anvil, sized.verifier_abi, sized.verifier_bytecode)
                for sized in bundle.circuits
            ]
            model_id = bench.register(bundle.spec, (single, wide))
            image_spec, stub = _image(anvil)
            image = bench.register(image_spec, stub)
            every_pixel = ((PIXELS.minimum, PIXELS.maximum),) * PIXELS.length
            ranged = bench.register(replace(image_spec, input_ranges=every_pixel), stub)
            first = rows()
            # The account's first repeat writes a slot that later ones only change.
            asked, _, repeated = [bench.request(model_id, first, shape.width) for _ in range(3)]
            bench.fulfil(asked)
            asked = bench.request(model_id, rows(), shape.width)
            done, proof = bench.fulfil(asked)
            large = bench.request(image, pixels, PIXELS.width)
            large_ranged = bench.request(ranged, pixels, PIXELS.width)
            batch = [bench.request(model_id, rows(), shape.width) for _ in range(BATCH)]
            together, batch_proof = bench.fulfil_batch(batch)
            at_once = bench.request_batch(model_id, rows(BATCH), shape.width)
            answered, _ = bench.fulfil(at_once)
            bare = bench.verify(single, proof)
            bare_batch = bench.verify(wide, batch_proof)
        prover.close()
    request_4 = int(asked["gasUsed"])
    batch_each = _per_row(int(together["gasUsed"]))
    return {
        "request_4": request_4,
        "request_4_repeated": int(repeated["gasUsed"]),
        "request_784": int(large["gasUsed"]),
        "request_784_ranges": int(large_ranged["gasUsed"]),
        "fulfil": int(done["gasUsed"]),
        "fulfil_overhead": int(done["gasUsed"]) - bare,
        "verify": bare,
        "batch32_verify_per_inference": _per_row(bare_batch),
        "batch32_fulfil_per_inference": batch_each,
        "batch32_all_in_per_inference": request_4 + batch_each,
        "batch32_one_request_all_in_per_inference": _per_row(
            int(at_once["gasUsed"]) + int(answered["gasUsed"])
        ),
        "hardfork": HARDFORK,
    }


def _deployed(anvil: Anvil, bundle: Bundle, prover: LocalProver) -> Bench:
    registry_code, oracle_code = contract("ModelRegistry"), contract("InferenceOracle")
    registry = deploy(anvil, registry_code.abi, registry_code.bytecode)
    oracle = deploy(
        anvil,
        oracle_code.abi,
        oracle_code.bytecode,
        registry.address,
        anvil.w3.eth.accounts[0],
    )
    return Bench(anvil, oracle, registry, bundle, prover)


def _image(anvil: Anvil) -> tuple[ModelSpec, list[Contract]]:
    """A model of 784 numbers, which is only asked: its verifier never runs."""
    stub = contract("HashVerifier")
    verifier = deploy(anvil, stub.abi, stub.bytecode)
    code = bytes(anvil.w3.eth.get_code(verifier.address))
    zero = bytes(32)
    spec = ModelSpec(
        onnx_hash=zero,
        settings_hash=zero,
        vk_hash=zero,
        srs_hash=zero,
        input=PIXELS,
        output=TensorSpec(length=10, width=3, scale=14, minimum=-400_000, maximum=400_000),
        verifier_code_hash=keccak(code),
        verify_gas=1_000_000,
    )
    return spec, [verifier]


def _per_row(gas: int) -> int:
    """A batch's share, rounded up."""
    return -(-gas // BATCH)


def main() -> None:
    text = json.dumps(measure(demo_bundle()), indent=2) + "\n"
    target = build_dir() / "bench" / "gas.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
