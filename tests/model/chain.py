"""pyrevm for long runs: cached ABIs, decoded logs and errors, and a base fee.

pyrevm runs every message with a base fee of zero. Here the opcode BASEFEE of chosen contracts is
replaced by COINBASE, which costs the same; the block's beneficiary carries the base fee.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from pyrevm import EVM, AccountInfo, BlockEnv

from oracle.chain.artifacts import contract

GAS_LIMIT = 16_000_000
_LIBRARIES_WITH_ERRORS = ("TensorCodec", "TextCodec", "ExactCall")
_BASEFEE, _COINBASE = 0x48, 0x41
_PUSH1, _PUSH32 = 0x60, 0x7F
_JUMPDEST = 0x5B
#: STOP, JUMP, RETURN, REVERT, INVALID.
_ENDS = frozenset({0x00, 0x56, 0xF3, 0xFD, 0xFE})


class Reverted(Exception):
    """A transaction failed with this error; ``gas`` where it ran out, '' where it says nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Log:
    """A decoded event of a known contract."""

    address: str
    name: str
    values: dict[str, Any]


class Deployed:
    """Address and ABI. Functions are named with their arity where the name alone is ambiguous."""

    def __init__(self, name: str, address: str) -> None:
        self.address = address
        self.functions: dict[str, tuple[bytes, list[str], list[str]]] = {}
        self.events: dict[bytes, dict[str, Any]] = {}
        self.errors: dict[bytes, str] = {}
        for entry in contract(name).abi:
            if entry["type"] in ("function", "event", "error"):
                types = [collapse_if_tuple(i) for i in entry["inputs"]]
                digest = keccak(text=f"{entry['name']}({','.join(types)})")
                if entry["type"] == "function":
                    outputs = [collapse_if_tuple(o) for o in entry["outputs"]]
                    found = (digest[:4], types, outputs)
                    self.functions[f"{entry['name']}/{len(types)}"] = found
                    self.functions.setdefault(entry["name"], found)
                elif entry["type"] == "event":
                    self.events[digest] = entry
                else:
                    self.errors[digest[:4]] = entry["name"]

    def calldata(self, function: str, *arguments: Any) -> bytes:
        """Encoded call."""
        selector, types, _ = self.functions[function]
        return selector + encode(types, arguments)


class Chain:
    """Accounts, time, base fee and contracts."""

    def __init__(self, deployer: str) -> None:
        self._revm = EVM(spec_id="CANCUN")
        self._deployer = deployer
        self._contracts: dict[str, Deployed] = {
            name: Deployed(name, "") for name in _LIBRARIES_WITH_ERRORS
        }
        self.now = 1_700_000_000
        self.base_fee = 0
        self.gas_price = 0
        self.gas_used = 0
        self.fund(deployer)
        self.set_block()

    def fund(self, address: str, wei: int = 10**30) -> None:
        self._revm.set_balance(address, wei)

    def balance(self, address: str) -> int:
        return int(self._revm.get_balance(address))

    def code_hash(self, address: str) -> bytes:
        return bytes(self._revm.basic(address).code_hash or b"")

    def set_code(self, address: str, code: bytes) -> None:
        """Put other code at an address, as a self-destruct and a new deployment can."""
        self._revm.insert_account_info(address, AccountInfo(nonce=1, code=code))

    def copy_code(self, address: str, source: str) -> None:
        """Put the code of another account at an address."""
        self._revm.insert_account_info(address, self._revm.basic(source))

    def set_block(self, *, seconds: int = 0, base_fee: int | None = None) -> None:
        """Advance time and change the base fee (wei)."""
        self.now += seconds
        self.base_fee = self.base_fee if base_fee is None else base_fee
        self._revm.set_block_env(
            BlockEnv(
                number=1,
                timestamp=self.now,
                coinbase=f"0x{self.base_fee:040x}",
                gas_limit=30_000_000,
            )
        )

    def deploy(self, name: str, *arguments: Any, with_base_fee: bool = False) -> Deployed:
        """A new contract."""
        built = contract(name)
        inputs: list[dict[str, Any]] = next(
            (e["inputs"] for e in built.abi if e["type"] == "constructor"), []
        )
        code = built.bytecode + encode([collapse_if_tuple(i) for i in inputs], arguments)
        return self.create(code, name, with_base_fee=with_base_fee)

    def create(self, code: bytes, name: str, *, with_base_fee: bool = False) -> Deployed:
        """Run creation code; what it leaves answers as the contract of this name."""
        address = to_checksum_address(self._revm.deploy(self._deployer, code))
        if with_base_fee:
            self.set_code(address, _read_base_fee_from_coinbase(self.code(address)))
        found = Deployed(name, address)
        self._contracts[address.lower()] = found
        return found

    def send(
        self, sender: str, to: Deployed, data: bytes, *, value: int = 0, gas: int = GAS_LIMIT
    ) -> tuple[bytes, list[Log]]:
        """A transaction: what it returned and logged.

        Raises:
            Reverted: it failed.
        """
        self._revm.reset_transient_storage()
        try:
            answer = self._revm.message_call(
                sender, to.address, calldata=data, value=value, gas=gas, gas_price=self.gas_price
            )
        except RuntimeError as error:
            raise Reverted(self._error(str(error))) from None
        result = self._revm.result
        assert result is not None
        self.gas_used = int(result.gas_used)
        return bytes(answer), [log for log in map(self._decode, result.logs) if log]

    def read(self, to: Deployed, function: str, *arguments: Any) -> Any:
        """A view's answer, at a gas price of its own."""
        answer = self._revm.message_call(
            self._deployer, to.address, calldata=to.calldata(function, *arguments)
        )
        values = decode(to.functions[function][2], bytes(answer))
        return values[0] if len(values) == 1 else values

    def code(self, address: str) -> bytes:
        """An account's code; pyrevm adds zero bytes."""
        return bytes(self._revm.basic(address).code or b"")

    def _error(self, text: str) -> str:
        found = re.search(r"output: 0x([0-9a-f]*)", text)
        if found is None:
            if "Halt" in text:
                return "gas"
            raise AssertionError(text)  # The transaction itself was invalid: the driver is wrong.
        selector = bytes.fromhex(found[1][:8])
        names = (known.errors.get(selector) for known in self._contracts.values())
        return next(filter(None, names), "0x" + selector.hex() if selector else "")

    def _decode(self, log: Any) -> Log | None:
        known = self._contracts.get(log.address.lower())
        topics = [bytes.fromhex(topic.removeprefix("0x")) for topic in log.topics]
        entry = known.events.get(topics[0]) if known else None
        if entry is None:
            return None
        values = {}
        rest = iter(topics[1:])
        plain = [i for i in entry["inputs"] if not i["indexed"]]
        data = dict(
            zip(
                [i["name"] for i in plain],
                decode([collapse_if_tuple(i) for i in plain], log.data[1]),
                strict=True,
            )
        )
        for item in entry["inputs"]:
            name = item["name"]
            values[name] = decode([item["type"]], next(rest))[0] if item["indexed"] else data[name]
            if item["type"] == "address":
                values[name] = to_checksum_address(values[name])
        return Log(to_checksum_address(log.address), entry["name"], values)


def _read_base_fee_from_coinbase(code: bytes) -> bytes:
    patched = bytearray(code)
    position, live = 0, True
    while position < len(patched):
        opcode = patched[position]
        # Constants that lie behind the code are not code: only what a jump can reach is.
        live = (live or opcode == _JUMPDEST) and opcode not in _ENDS
        if live and opcode == _BASEFEE:
            patched[position] = _COINBASE
        position += 1
        if _PUSH1 <= opcode <= _PUSH32:
            position += opcode - _PUSH1 + 1
    return bytes(patched)
