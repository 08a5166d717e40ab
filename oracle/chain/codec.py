"""ABI encoding and decoding for one contract, from its ABI JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import (
    collapse_if_tuple,
    event_abi_to_log_topic,
    function_abi_to_4byte_selector,
)

from oracle.chain.evidence import Log
from oracle.log import request_hex

#: ``Error(string)`` and ``Panic(uint256)``, which the compiler itself emits.
_BUILTIN_ERRORS = {
    bytes.fromhex("08c379a0"): ("Error", ["string"], ["message"]),
    bytes.fromhex("4e487b71"): ("Panic", ["uint256"], ["code"]),
}


class ContractAbi:
    """Functions, events and errors of one contract, by name.

    An overloaded function goes by its signature, ``withdrawTo(address)``.
    """

    def __init__(self, entries: Sequence[dict[str, Any]]) -> None:
        self._functions: dict[str, tuple[bytes, list[str], list[str]]] = {}
        self._events: dict[str, tuple[bytes, list[str], list[str], list[str], list[str]]] = {}
        self._errors = dict(_BUILTIN_ERRORS)
        for entry in entries:
            inputs = _types(entry.get("inputs", ()))
            if entry["type"] == "function":
                selector = function_abi_to_4byte_selector(entry)  # type: ignore[arg-type]
                outputs = _types(entry["outputs"])
                found = (selector, inputs, outputs)
                self._functions.setdefault(entry["name"], found)
                self._functions[f"{entry['name']}({','.join(inputs)})"] = found
            elif entry["type"] == "error":
                selector = function_abi_to_4byte_selector(
                    {**entry, "type": "function"}  # type: ignore[arg-type]
                )
                names = [item["name"] for item in entry.get("inputs", ())]
                self._errors[selector] = (entry["name"], inputs, names)
            elif entry["type"] == "event":
                indexed = [item for item in entry["inputs"] if item["indexed"]]
                plain = [item for item in entry["inputs"] if not item["indexed"]]
                self._events[entry["name"]] = (
                    event_abi_to_log_topic(entry),  # type: ignore[arg-type]
                    [item["name"] for item in indexed],
                    _types(indexed),
                    [item["name"] for item in plain],
                    _types(plain),
                )

    @classmethod
    @cache
    def of(cls, contract: str) -> ContractAbi:
        """The ABI that ships with the package."""
        text = files("oracle.chain").joinpath("abi", f"{contract}.json").read_text()
        return cls(json.loads(text))

    def call(self, function: str, *arguments: Any) -> bytes:
        """Calldata of a call."""
        selector, inputs, _ = self._functions[function]
        return selector + encode(inputs, arguments)

    def arguments(self, function: str, calldata: bytes) -> tuple[Any, ...]:
        """The arguments in a call's data."""
        return tuple(decode(self._functions[function][1], calldata[4:]))

    def selectors(self) -> dict[str, bytes]:
        """First four bytes of a call to each function, by signature."""
        return {name: found[0] for name, found in self._functions.items() if "(" in name}

    def selector(self, function: str) -> bytes:
        """First four bytes of a call to the function."""
        return self._functions[function][0]

    def result(self, function: str, data: bytes) -> Any:
        """What a call returned: the value, or a tuple of several.

        Raises:
            ValueError: no such function returns this.
        """
        try:
            values = decode(self._functions[function][2], data)
        except DecodingError as error:
            raise ValueError(f"not a result of {function}") from error
        return values[0] if len(values) == 1 else values

    def encode_result(self, function: str, *values: Any) -> bytes:
        """Return data of a call."""
        return encode(self._functions[function][2], values)

    def topic(self, event: str) -> bytes:
        """First topic of an event."""
        return self._events[event][0]

    def event(self, name: str, log: Log) -> dict[str, Any]:
        """The fields of an event.

        Raises:
            ValueError: the contract emits no such log.
        """
        _, names, types, plain_names, plain_types = self._events[name]
        try:
            fields: dict[str, Any] = {
                field: decode([kind], topic)[0]
                for field, kind, topic in zip(names, types, log.topics[1:], strict=True)
            }
            fields.update(zip(plain_names, decode(plain_types, log.data), strict=True))
        except DecodingError as error:
            raise ValueError(f"not an event {name}") from error
        return fields

    def encode_event(self, name: str, **fields: Any) -> tuple[tuple[bytes, ...], bytes]:
        """Topics and data of an event."""
        topic, names, types, plain_names, plain_types = self._events[name]
        topics = (encode([kind], [fields[n]]) for n, kind in zip(names, types, strict=True))
        return (topic, *topics), encode(plain_types, [fields[n] for n in plain_names])

    def error(self, data: bytes) -> tuple[str, str]:
        """A revert's error name, and the same with its arguments for a person to read."""
        name, _, fields = self._errors.get(data[:4], ("", [], []))
        if not name:
            return "", f"unknown error 0x{data[:4].hex()}" if data else "no reason given"
        values = self.error_arguments(data)
        if len(values) != len(fields):
            return name, name
        return name, f"{name}({', '.join(map(_show, fields, values))})"

    def error_arguments(self, data: bytes) -> tuple[Any, ...]:
        """What a revert's error says; nothing where it does not fit the ABI."""
        _, types, _ = self._errors.get(data[:4], ("", [], []))
        try:
            return tuple(decode(types, data[4:]))
        except DecodingError:
            return ()

    def encode_error(self, name: str, *arguments: Any) -> bytes:
        """Revert data of an error."""
        for selector, (known, types, _) in self._errors.items():
            if known == name:
                return selector + encode(types, arguments)
        raise KeyError(name)


def _types(items: Iterable[Any]) -> list[str]:
    return [collapse_if_tuple(item) for item in items]


def _show(field: str, value: Any) -> str:
    # As everything else here names requests.
    if field == "requestId":
        return request_hex(value)
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
