"""Requests that one account signs (EIP-712) and somebody else submits, and their JSON on the way.

The JSON is that of the npm package's ``signRequest``: an object with ``chainId``, ``oracle``,
``request`` (the fields of `TYPE`), ``input``, ``callbackData`` and ``signature``. Integers are decimal
text, since JavaScript's numbers do not hold 256 bits; whole JSON numbers are read, too. It comes from
strangers: everything is checked, nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from eth_account.messages import SignableMessage, encode_typed_data

from oracle.addresses import read_address
from oracle.errors import SignedRequestMalformed

#: The struct's EIP-712 type, of which the contract has the hash.
TYPE = (
    "SignedRequest(address account,uint256 modelId,bytes32 inputHash,address callbackContract,"
    "uint64 callbackGas,bytes32 callbackDataHash,address refundTo,uint64 deadline,"
    "uint96 maxCost,uint96 relayerTip,uint256 nonce,uint64 validUntil)"
)
#: Kind and name of each field, in order.
_FIELDS = [field.split(" ") for field in TYPE[TYPE.index("(") + 1 : -1].split(",")]
#: Characters of the longest text that is read: no transaction carries a quarter of that.
MOST = 1 << 20
#: Decimal digits of the greatest number of 256 bits.
_MOST_DIGITS = 78


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What is signed, in the order of `TYPE`; see `IInferenceOracle.SignedRequest`."""

    account: str
    model_id: int
    input_hash: bytes
    callback_contract: str
    callback_gas: int
    callback_data_hash: bytes
    refund_to: str
    deadline: int
    max_cost: int
    relayer_tip: int
    nonce: int
    valid_until: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed request, and all that is needed to submit it."""

    chain_id: int
    oracle: str
    request: SignedRequest
    input: bytes
    callback_data: bytes
    signature: bytes


def message(chain_id: int, oracle: str, request: SignedRequest) -> SignableMessage:
    """What the account signs: good on one chain, at one oracle."""
    domain = {
        "name": "InferenceOracle",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": oracle,
    }
    types = {"SignedRequest": [{"name": name, "type": kind} for kind, name in _FIELDS]}
    names = [name for _, name in _FIELDS]
    fields = dict(zip(names, dataclasses.astuple(request), strict=True))
    return encode_typed_data(domain, types, fields)


def written(envelope: Envelope) -> str:
    """The JSON text."""
    names = [name for _, name in _FIELDS]
    values = map(_plain, dataclasses.astuple(envelope.request))
    return json.dumps(
        {
            "chainId": str(envelope.chain_id),
            "oracle": envelope.oracle,
            "request": dict(zip(names, values, strict=True)),
            "input": _plain(envelope.input),
            "callbackData": _plain(envelope.callback_data),
            "signature": _plain(envelope.signature),
        }
    )


def read(text: str) -> Envelope:
    """The signed request of a JSON text, whoever wrote it.

    Raises:
        SignedRequestMalformed: it is none; the message names what is wrong.
    """
    if len(text) > MOST:
        _refuse(f"it has more than {MOST} characters")
    try:
        found = json.loads(text, object_pairs_hook=_object, parse_float=_no_float, parse_int=str)
    except (ValueError, RecursionError):
        _refuse("it is not JSON")
    fields = _members(
        found,
        "the signed request",
        {
            "chainId": _uint(256),
            "oracle": _address,
            "request": _request,
            "input": _bytes,
            "callbackData": _bytes,
            "signature": _bytes,
        },
    )
    return Envelope(*fields)


def _request(value: Any, name: str) -> SignedRequest:
    kinds = {"address": _address, "bytes32": _bytes32}
    readers = {
        field: kinds.get(kind) or _uint(int(kind.removeprefix("uint"))) for kind, field in _FIELDS
    }
    return SignedRequest(*_members(value, name, readers))


_Reader = Callable[[Any, str], Any]


def _members(value: Any, name: str, readers: dict[str, _Reader]) -> list[Any]:
    if not isinstance(value, dict):
        _refuse(f"{name} is not an object")
    if missing := readers.keys() - value.keys():
        _refuse(f"{name} has no {min(missing)}")
    if unknown := value.keys() - readers.keys():
        _refuse(f"{name} has a member {_shown(min(unknown))} that none has")
    return [read(value[field], field) for field, read in readers.items()]


def _uint(bits: int) -> _Reader:
    def read(value: Any, name: str) -> int:
        is_decimal = isinstance(value, str) and value.isascii() and value.isdecimal()
        number = int(value) if is_decimal and len(value) <= _MOST_DIGITS else -1
        if not 0 <= number < 1 << bits:
            _refuse(f"{name} is not a whole number of {bits} bits: {_shown(value)}")
        return number

    return read


def _address(value: Any, name: str) -> str:
    found = read_address(value)
    if found is None:
        _refuse(f"{name} is not an address with a valid checksum: {_shown(value)}")
    return found


def _bytes(value: Any, name: str) -> bytes:
    digits = value[2:] if isinstance(value, str) and value.startswith("0x") else None
    # Python's own reader skips spaces.
    if digits is None or not set(digits) <= set("0123456789abcdefABCDEF") or len(digits) % 2:
        _refuse(f"{name} is not bytes in hex, 0x and two digits each: {_shown(value)}")
    return bytes.fromhex(digits)


def _bytes32(value: Any, name: str) -> bytes:
    data = _bytes(value, name)
    if len(data) != 32:
        _refuse(f"{name} is not 32 bytes, but {len(data)}")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a member that stands twice would be one to whoever signs and another here."""
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("a member stands twice in one object")
    return found


def _no_float(text: str) -> NoReturn:
    _refuse(f"{_shown(text)} is not a whole number")


def _plain(value: bytes | int | str) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _shown(value: Any) -> str:
    """The beginning of what a stranger wrote, escaped."""
    text = ascii(value)
    return text if len(text) <= 48 else text[:45] + "..."


def _refuse(reason: str) -> NoReturn:
    raise SignedRequestMalformed(
        f"this is no signed request: {reason}",
        remedy="Give what `oracle sign-request` or the npm package's `signRequest` made",
    )
