"""A chain in memory (pyrevm) with typed calls: what the contract tests run on.

Its base fee is always zero (pyrevm runs messages like ``eth_call``): what depends on the base fee
is tested on anvil. Gas is not charged to accounts, so balances hold money and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from eth_abi import decode, encode
from eth_utils import keccak, to_checksum_address
from eth_utils.abi import collapse_if_tuple
from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from oracle.chain.artifacts import Artifact, contract

CHAIN_ID = 1
GAS_LIMIT = 16_000_000
DEPLOYER = to_checksum_address("0x" + "de" * 20)

artifact = lru_cache(contract)


class Reverted(Exception):
    """A transaction reverted with custom error ``name`` (or a bare selector, or nothing)."""

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__(name, *args)
        self.name = name
        self.values = args


@dataclass(frozen=True)
class Event:
    """A decoded log."""

    name: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Receipt:
    """What a transaction did."""

    value: Any
    gas_used: int
    events: tuple[Event, ...]

    def event(self, name: str) -> dict[str, Any]:
        """The only event of this name."""
        (found,) = [event.values for event in self.events if event.name == name]
        return found


class Chain:
    """Accounts, time and contracts."""

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        self.revm = EVM(env=Env(cfg=CfgEnv(chain_id=chain_id)), spec_id="CANCUN")
        self.now = 1_700_000_000
        self.gas_price = 10
        self._contracts: dict[str, Artifact] = {}
        self.advance(0)
        self.fund(DEPLOYER)

    def fund(self, address: str, wei: int = 10**24) -> None:
        self.revm.set_balance(address, wei)

    def advance(self, seconds: int) -> None:
        self.now += seconds
        self.revm.set_block_env(
            BlockEnv(number=1, timestamp=self.now, basefee=0, gas_limit=30_000_000)
        )

    def balance(self, address: str) -> int:
        return int(self.revm.get_balance(address))

    def code_hash(self, address: str) -> bytes:
        return bytes(self.revm.basic(address).code_hash)

    def erase_code(self, address: str) -> None:
        """What a self-destruct leaves behind."""
        self.revm.insert_account_info(address, AccountInfo(balance=self.balance(address)))

    def replace_code(self, address: str, source: str) -> None:
        """Put another account's code at an address."""
        self.revm.insert_account_info(address, self.revm.basic(source))

    def deploy(self, name: str, *arguments: Any, sender: str = DEPLOYER) -> Contract:
        built = artifact(name)
        inputs = next((e["inputs"] for e in built.abi if e["type"] == "constructor"), [])
        code = built.bytecode + encode([collapse_if_tuple(i) for i in inputs], arguments)
        return self.create(code, name, sender=sender)

    def create(self, code: bytes, name: str, sender: str = DEPLOYER) -> Contract:
        """Run creation code; what it leaves answers as the contract of this name."""
        self.revm.reset_transient_storage()
        try:
            address = to_checksum_address(self.revm.deploy(sender, code))
        except RuntimeError as error:
            raise self._reverted(error) from None
        return self.at(address, name)

    def at(self, address: str, name: str) -> Contract:
        """A contract that another one created."""
        where = to_checksum_address(address)
        self._contracts[where] = artifact(name)
        return Contract(self, where, artifact(name))

    def send(self, sender: str, to: str, data: bytes, value: int, gas: int) -> bytes:
        self.revm.reset_transient_storage()
        try:
            return bytes(
                self.revm.message_call(
                    sender, to, calldata=data, value=value, gas=gas, gas_price=self.gas_price
                )
            )
        except RuntimeError as error:
            raise self._reverted(error) from None

    def _reverted(self, error: RuntimeError) -> Reverted:
        found = re.search(r"output: 0x([0-9a-f]*)", str(error))
        if found is None:
            if "Halt" not in str(error):
                raise error  # The transaction itself was invalid: the test is wrong.
            return Reverted(str(error))
        data = bytes.fromhex(found[1])
        for built in self._contracts.values():
            for entry in built.abi:
                if entry["type"] == "error" and selector(entry) == data[:4]:
                    types = [collapse_if_tuple(i) for i in entry["inputs"]]
                    return Reverted(entry["name"], decode(types, data[4:]))
        return Reverted("0x" + data[:4].hex())

    def events(self) -> tuple[Event, ...]:
        """Decoded logs of the last transaction, in order; unknown ones are left out."""
        return tuple(
            _decode_event(entry, topics[1:], log.data[1])
            for log in self.revm.result.logs
            for topics in [[bytes.fromhex(t.removeprefix("0x")) for t in log.topics]]
            for entry in self._abi(log.address)
            if entry["type"] == "event" and signature_hash(entry) == topics[0]
        )

    def _abi(self, address: str) -> list[dict[str, Any]]:
        built = self._contracts.get(to_checksum_address(address))
        return built.abi if built else []


@dataclass(frozen=True)
class Contract:
    """A deployed contract: ``contract("name", *arguments)`` sends a transaction."""

    chain: Chain
    address: str
    artifact: Artifact

    def __call__(
        self,
        function: str,
        *arguments: Any,
        sender: str = DEPLOYER,
        value: int = 0,
        gas: int = GAS_LIMIT,
    ) -> Receipt:
        entry = self._entry(function, len(arguments))
        output = self.chain.send(
            sender, self.address, self.calldata(function, *arguments), value, gas
        )
        values = decode([collapse_if_tuple(o) for o in entry["outputs"]], output)
        return Receipt(
            value=values[0] if len(values) == 1 else values,
            gas_used=int(self.chain.revm.result.gas_used),
            events=self.chain.events(),
        )

    def calldata(self, function: str, *arguments: Any) -> bytes:
        entry = self._entry(function, len(arguments))
        return selector(entry) + encode([collapse_if_tuple(i) for i in entry["inputs"]], arguments)

    def read(self, function: str, *arguments: Any) -> Any:
        return self(function, *arguments).value

    def _entry(self, function: str, arity: int) -> dict[str, Any]:
        (entry,) = [
            e
            for e in self.artifact.abi
            if e["type"] == "function" and e["name"] == function and len(e["inputs"]) == arity
        ]
        return entry


def signature_hash(entry: dict[str, Any]) -> bytes:
    types = ",".join(collapse_if_tuple(i) for i in entry["inputs"])
    return keccak(text=f"{entry['name']}({types})")


def selector(entry: dict[str, Any]) -> bytes:
    return signature_hash(entry)[:4]


def _decode_event(entry: dict[str, Any], topics: list[bytes], data: bytes) -> Event:
    indexed = [i for i in entry["inputs"] if i["indexed"]]
    plain = [i for i in entry["inputs"] if not i["indexed"]]
    values = {
        i["name"]: decode([i["type"]], topic)[0] for i, topic in zip(indexed, topics, strict=True)
    }
    decoded = decode([collapse_if_tuple(i) for i in plain], data)
    values |= {i["name"]: value for i, value in zip(plain, decoded, strict=True)}
    return Event(entry["name"], values)
