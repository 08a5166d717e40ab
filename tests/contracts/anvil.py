"""A real node for what pyrevm cannot show: base fees and the gas of whole transactions."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from oracle.chain.artifacts import contract
from oracle.chain.toolchain import toolchain


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
def anvil(log: Path) -> Iterator[Devnet]:
    """Start anvil on a free port."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(toolchain().anvil), "--port", "0", "--hardfork", "cancun"],
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
