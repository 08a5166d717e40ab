"""A real node for what pyrevm cannot show: base fees, reorgs, the gas of whole transactions."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eth_utils import keccak
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from oracle import tensor
from oracle.chain.artifacts import contract
from oracle.chain.toolchain import toolchain
from scripts.bench_gas import opened
from tests.contracts.world import (
    FEE,
    HALO2_KZG,
    INPUT,
    NUMBERS,
    OUTPUT,
    RECEIVER,
    RECEIVER_BPS,
    RESULT,
    TAG,
    VALUES,
    VERIFY_GAS,
    ZERO,
    packed,
    tensor_tuple,
)

CHAIN_ID = 31337
PACKED = packed()


class Devnet:
    """An anvil whose accounts are unlocked."""

    def __init__(self, url: str) -> None:
        self.w3 = Web3(HTTPProvider(url))
        self.accounts = self.w3.eth.accounts

    def rpc(self, method: str, *parameters: Any) -> Any:
        answer = self.w3.provider.make_request(RPCEndpoint(method), list(parameters))
        assert "error" not in answer, answer
        return answer["result"]

    def base_fee(self, wei: int) -> None:
        """Base fee of the next block."""
        self.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))

    def deploy(self, name: str, *arguments: Any) -> Any:
        built = contract(name)
        factory = self.w3.eth.contract(abi=built.abi, bytecode=built.bytecode)
        hash_ = factory.constructor(*arguments).transact({"from": self.accounts[0]})
        address = self.w3.eth.wait_for_transaction_receipt(hash_)["contractAddress"]
        return self.w3.eth.contract(address=address, abi=built.abi)

    def send(self, call: Any, sender: str, value: int = 0, **transaction: Any) -> Any:
        """Mine a call; raises web3's ContractCustomError if it reverts when simulated."""
        hash_ = call.transact({"from": sender, "value": value, **transaction})
        return self.w3.eth.wait_for_transaction_receipt(hash_)


@contextmanager
def anvil(log: Path, hardfork: str = "cancun") -> Iterator[Devnet]:
    """Start anvil on a free port."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(toolchain().anvil), "--port", "0", "--hardfork", hardfork],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    assert process.stdout is not None
    try:
        url = next(line.split()[-1] for line in process.stdout if line.startswith("Listening on"))
        yield Devnet(f"http://{url}")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


@dataclass(frozen=True)
class Deployed:
    """Registry, oracle and one model on anvil."""

    devnet: Devnet
    registry: Any
    oracle: Any
    model_id: int

    def request(self, value: int, data: bytes = PACKED, gas: int = 500_000, sender: int = 1) -> Any:
        """Ask without callback; the receipt."""
        call = self.oracle.functions.requestCallback(self.model_id, data, ZERO, 0, b"")
        return self.devnet.send(call, self.devnet.accounts[sender], value, gas=gas)

    def quote(self, callback_gas: int = 0, **how: Any) -> int:
        return int(self.oracle.functions.estimateFee(self.model_id, callback_gas).call(how))

    def opened(self, receipt: Any) -> tuple[int, tuple[Any, ...], bytes, bytes]:
        """Id, preimage, input and callback data of the request in `receipt`."""
        return opened(self.oracle, receipt)

    def proof(self, request_id: int, chain_id: int = CHAIN_ID) -> bytes:
        """What `HashVerifier` accepts from the node for the usual numbers and result."""
        node = self.devnet.accounts[2]
        limbs = tensor.tag(chain_id, self.oracle.address, [request_id], node, TAG)
        instances = [*map(tensor.to_field, NUMBERS), *limbs, *map(tensor.to_field, RESULT)]
        return keccak(b"".join(i.to_bytes(32, "big") for i in instances))

    def fulfilment(self, receipt: Any, proof: bytes | None = None) -> Any:
        """The call that fulfils the request in `receipt`, paying the node."""
        request = self.opened(receipt)
        outputs = [tensor.to_field(v) for v in RESULT]
        made = self.proof(request[0]) if proof is None else proof
        return self.oracle.functions.fulfill(*request, self.devnet.accounts[2], outputs, made)

    def fulfil(self, receipt: Any, proof: bytes | None = None) -> Any:
        """Fulfil the request in `receipt`; the receipt."""
        call = self.fulfilment(receipt, proof)
        return self.devnet.send(call, self.devnet.accounts[2], gas=2_000_000)


def register(devnet: Devnet, registry: Any, verifier: str, length: int = INPUT.length) -> int:
    zeros = [bytes(32)] * 3
    code_hash = keccak(devnet.w3.eth.get_code(verifier))
    model = (
        bytes(32),
        0,
        TAG.limbs,
        TAG.bits,
        VALUES,
        tensor_tuple(replace(INPUT, length=length)),
        tensor_tuple(OUTPUT),
        ZERO,
        ZERO,
        FEE,
        RECEIVER,
        RECEIVER_BPS,
        bytes(32),
        0,
        [(verifier, code_hash, VERIFY_GAS, 1, HALO2_KZG, *zeros)],
    )
    devnet.send(registry.functions.register(model), devnet.accounts[0])
    return int(registry.functions.count().call())
