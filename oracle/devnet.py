"""A local chain: anvil, and everything deployed on it that a request needs.

Unsafe by design: anvil's accounts are unlocked and their keys are public. Nothing here runs
against any chain but a local one (chain id 31337).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eth_account import Account
from eth_typing import ChecksumAddress
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.types import TxReceipt, Wei

from oracle.chain.artifacts import contract as artifact
from oracle.chain.input_ranges import creation_code
from oracle.chain.registration import registration
from oracle.chain.toolchain import toolchain
from oracle.circuits.bundle import Bundle
from oracle.errors import ChainError, WrongChain
from oracle.types import ZERO_ADDRESS

CHAIN_ID = 31337
#: Publisher's price for the demo model (wei) and the publisher's share of it.
MODEL_FEE = Wei(10**14)
RECEIVER_BPS = 5_000


class Anvil:
    """A running anvil, on a free port by default; a context manager that stops it."""

    def __init__(
        self, log: Path, *arguments: str, port: int = 0, start_timeout: float = 60
    ) -> None:
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(toolchain().anvil), "--host", "127.0.0.1", "--port", str(port), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = self._wait_for_url(port, time.monotonic() + start_timeout)
        self.w3 = Web3(HTTPProvider(self.url))

    def _wait_for_url(self, port: int, deadline: float) -> str:
        marker = "Listening on "
        while time.monotonic() < deadline and self._process.poll() is None:
            text = self._log.read_text()
            if marker in text:
                return "http://" + text.split(marker, 1)[1].split(None, 1)[0]
            time.sleep(0.01)
        self.close()
        if "already in use" in self._log.read_text():
            raise ChainError(
                f"anvil did not start: its port is in use ({port})",
                remedy="Stop what uses it, or take a free one with --port 0",
            )
        raise ChainError("anvil did not start", remedy=f"Read {self._log}")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def close(self) -> None:
        """Stop anvil."""
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class NodeProcess:
    """The node daemon in a process of its own, as an operator runs it."""

    def __init__(self, config: Path, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "oracle", "node", "run", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def log_events(self) -> list[dict[str, Any]]:
        """What it has logged so far (JSON lines; a line being written is left out)."""
        text = self._log.read_text()
        complete = text[: text.rfind("\n") + 1]
        return [json.loads(line) for line in complete.splitlines() if line.startswith("{")]

    def wait_for_event(self, event: str, timeout: float = 60) -> dict[str, Any]:
        """The first log line of this name.

        Raises:
            ChainError: the node stopped, or did not log it in time; the message is its last line.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for line in self.log_events():
                if line["event"] == event:
                    return line
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        lines = self._log.read_text().splitlines() or ["nothing logged"]
        raise ChainError(f"the node did not get to '{event}': {lines[-1]}")

    def stop(self, timeout: float = 60) -> int:
        """Ask it to drain and wait; its exit code."""
        self._process.terminate()
        return self._process.wait(timeout)

    def kill(self) -> None:
        """``kill -9``: no goodbye."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self.kill()


@dataclass(frozen=True, slots=True)
class Deployed:
    """Contracts on the devnet, callable, and the accounts that play the parts."""

    w3: Web3
    registry: Contract
    oracle: Contract
    #: Of the circuit for one row.
    verifier: Contract
    consumer: Contract
    model_id: int
    publisher: ChecksumAddress
    caller: ChecksumAddress


def deploy(w3: Web3, bundle: Bundle, consumer: str) -> Deployed:
    """Deploy registry, oracle, the bundle's verifiers and input ranges, and a caller; register the model.

    Args:
        w3: connection to a devnet with unlocked accounts.
        bundle: the built model.
        consumer: name of the caller contract; its constructor takes the oracle and the model id.

    Raises:
        WrongChain: not a local devnet.
    """
    if w3.eth.chain_id != CHAIN_ID:
        raise WrongChain(
            f"chain {w3.eth.chain_id} is not a local devnet",
            remedy="Deploy with: ape run deploy --network ...",
        )
    deployer, publisher, caller = list(w3.eth.accounts)[:3]
    registry = deploy_contract(w3, deployer, "ModelRegistry")
    oracle = deploy_contract(w3, deployer, "InferenceOracle", registry.address, deployer)
    verifiers = [
        _create(w3, publisher, sized.verifier_abi, sized.verifier_bytecode)
        for sized in bundle.circuits
    ]
    ranges, checker = bundle.spec.input_ranges, ZERO_ADDRESS
    if ranges:
        checker = _create(w3, publisher, [], creation_code(ranges)).address
    model = registration(
        bundle.spec,
        verifiers=[verifier.address for verifier in verifiers],
        fee=MODEL_FEE,
        receiver=publisher,
        receiver_bps=RECEIVER_BPS,
        input_checker=checker,
    )
    receipt = transact(registry.functions.register(model), publisher)
    (registered,) = registry.events.ModelRegistered().process_receipt(receipt)
    model_id = registered["args"]["modelId"]
    return Deployed(
        w3=w3,
        registry=registry,
        oracle=oracle,
        verifier=verifiers[0],
        consumer=deploy_contract(w3, deployer, consumer, oracle.address, model_id),
        model_id=model_id,
        publisher=publisher,
        caller=caller,
    )


def transact(call: Any, sender: ChecksumAddress, value: int = 0) -> TxReceipt:
    """Send a contract call from an unlocked account and wait until it is mined."""
    w3: Web3 = call.w3
    receipt = w3.eth.wait_for_transaction_receipt(
        call.transact({"from": sender, "value": Wei(value)}), timeout=60, poll_latency=0.01
    )
    if receipt["status"] != 1:
        raise ChainError(f"{call.fn_name} reverted")
    return receipt


def fund_new_key(w3: Web3, path: Path, wei: int) -> ChecksumAddress:
    """Create a key file (mode 0600) for a node and give its account devnet ether."""
    account = Account.create()
    path.touch(mode=0o600)
    path.write_text(account.key.to_0x_hex() + "\n")
    w3.provider.make_request("anvil_setBalance", [account.address, hex(wei)])  # type: ignore[arg-type]
    return Web3.to_checksum_address(account.address)


def deploy_contract(w3: Web3, sender: ChecksumAddress, name: str, *arguments: Any) -> Contract:
    """Deploy one of the compiled contracts by name, from an unlocked account."""
    built = artifact(name)
    return _create(w3, sender, built.abi, built.bytecode, *arguments)


def _create(
    w3: Web3, sender: ChecksumAddress, abi: Any, bytecode: str | bytes, *arguments: Any
) -> Contract:
    factory = w3.eth.contract(abi=abi, bytecode=bytecode)
    hash_ = factory.constructor(*arguments).transact({"from": sender})
    address = w3.eth.wait_for_transaction_receipt(hash_, poll_latency=0.01)["contractAddress"]
    if address is None:
        raise ChainError("the deployment created no contract")
    return w3.eth.contract(address=address, abi=abi)
