"""What a JSON-RPC error says: the chain's word, or the endpoint's trouble. Pure.

Providers have words and codes of their own for an expired key, a state they lack or a query that
is too large, and no list of them can be whole. So it is the other way round: what running a call
came to is said in the few words of the EVM, and every other error to a read is the endpoint's.
Whether another one does better is for `oracle.chain.rpc.Rpc` to find out.
"""

from __future__ import annotations

import re
from typing import Any

from oracle.errors import (
    ChainError,
    RpcLimit,
    RpcRejected,
    RpcThrottled,
    RpcUncertain,
    RpcUnreachable,
)

_SENDING = "eth_sendRawTransaction"
#: Calls that run code.
_EXECUTING = frozenset({"eth_call", "eth_estimateGas"})
#: What running it came to, as clients say it: Geth and its kin, revm, Nethermind, Besu, Hardhat.
_EXECUTION = re.compile(
    r"revert|out ?of ?gas|gas required exceeds|gas uint64 overflow|intrinsic gas"
    r"|(invalid|undefined|bad) ?(op ?code|instruction|jump)|invalid\w*opcode|opcode ?not ?found"
    r"|jump destination|stack ?(under|over)flow|stack limit"
    r"|write protection|static ?(state|call|context)|state ?change ?during ?static"
    r"|insufficient (funds|balance|sender balance)|insufficient ?balance ?exception"
    r"|(out|lack) ?of ?funds|enough funds|upfront cost"
    r"|return data out of bounds|max (init ?)?code size|contract address collision"
    r"|invalid code|max fee per gas less than|VM (execution error|exception)"
    r"|EVM error(?!.*database)",
    re.I | re.S,
)
#: What providers say when they were asked too often, whatever the call.
_THROTTLED = re.compile(
    r"rate.?limit|too many requests|requests? (count|rate|per)|compute units|per.second"
    r"|throughput|quota|credits|throttl",
    re.I,
)
#: What they say, in place of a standard code, when a log query covers too much.
_LIMIT = re.compile(
    r"limit|too (many|large|wide|high|big)|more than \d+|exceed|range|response|blocks? distance"
    r"|reduc(e|ing)|maximum|larger|bigger",
    re.I,
)
#: A range that an endpoint says it would take.
_SUGGESTED = re.compile(
    r"(?:should work|try with|retry with)[^\[\d]{0,40}\[?(0x[0-9a-f]{1,16}|\d{1,19})"
    r"\s*(?:,|-|to)\s*(0x[0-9a-f]{1,16}|\d{1,19})",
    re.I,
)
#: Codes of states that pass (JSON-RPC: internal error, resource unavailable, limit exceeded).
_PASSING_CODES = frozenset({-32603, -32002, -32005, 429})
#: JSON-RPC's code for a method that there is not.
_NO_SUCH_METHOD = -32601
#: Words of such states: a proof is not thrown away for them.
_PASSING = re.compile(
    r"not found|missing trie|not available|unavailable|time(d )?.?out|sync|try again|busy"
    r"|authori|authenticat|forbidden|key|healthy|overload|upstream|pruned|unknown block",
    re.I,
)
#: Statuses that tell of the caller's contract with the provider and never of the call.
_REFUSED_CALLERS = frozenset({401, 402, 403})
#: Most characters of an endpoint's words that are looked at, and that are passed on.
_READ, _TOLD = 4096, 300

REMEDY = "Check the address (--rpc, or a node's rpc_urls) and that the endpoint is up"
KEY_REMEDY = "Check the key in the endpoint's address, and what your plan with the provider allows"


class Said:
    """An error as an endpoint gave it.

    Args:
        name: of the endpoint.
        method: that was called.
        status: of HTTP.
        error: the answer's ``error``; None when there is no JSON-RPC in it.
        secrets: what must not be passed on, if the endpoint repeats it.
        asks_for_rest: whether it asks to be left alone.
        seconds: for how long, if it says so.
    """

    def __init__(
        self,
        name: str,
        method: str,
        status: int,
        error: Any,
        *,
        secrets: tuple[str, ...] = (),
        asks_for_rest: bool = False,
        seconds: float | None = None,
    ) -> None:
        fields = error if isinstance(error, dict) else {}
        message = str(fields.get("message", "" if error is None else error))[:_READ]
        data = fields.get("data")
        self._name = name
        self._method = method
        self._status = status
        self._is_json_rpc = error is not None
        self._message = message
        self._code = fields.get("code")
        self._data = data
        self._words = f"{message} {data[:_READ]}" if isinstance(data, str) else message
        self._told = told_of(message, secrets)
        self._asks_for_rest = asks_for_rest
        self._seconds = seconds

    def error(self) -> ChainError:
        """What it means."""
        if self._status in _REFUSED_CALLERS and not self._asks_for_rest:
            return RpcUnreachable(self._answered, remedy=KEY_REMEDY)
        if self._method in _EXECUTING and self._is_json_rpc:
            returned = revert_data(self._data)
            if returned or _EXECUTION.search(self._words):
                return RpcRejected(self._text, data=returned)
        if self._is_too_often:
            why = self._told or f"HTTP {self._status}"
            return RpcThrottled(
                f"{self._name} wants to be asked less often ({why})",
                remedy="Lower rpc_requests_per_second, or add an endpoint to rpc_urls",
                retry_after=self._seconds,
            )
        if self._status >= 500 or not self._is_json_rpc:
            return RpcUnreachable(self._answered, remedy=REMEDY)
        return self._of_sending() if self._method == _SENDING else self._of_reading()

    @property
    def _is_too_often(self) -> bool:
        if self._asks_for_rest or 429 in (self._status, self._code):
            return True
        return bool(_THROTTLED.search(self._message))

    def _of_sending(self) -> ChainError:
        # What the pool says of a transaction is its word.
        if self._code in _PASSING_CODES and not _EXECUTION.search(self._message):
            return RpcUnreachable(self._text, remedy=REMEDY)
        return RpcRejected(self._text)

    def _of_reading(self) -> ChainError:
        if self._method == "eth_getLogs":
            blocks = suggested(self._message)
            if blocks is not None or self._code == -32005 or _LIMIT.search(self._message):
                return RpcLimit(self._text, blocks=blocks)
        passing = self._code in _PASSING_CODES or bool(_PASSING.search(self._message))
        lacks = self._code == _NO_SUCH_METHOD
        return RpcUncertain(self._text, remedy=KEY_REMEDY, passing=passing, lacks_method=lacks)

    @property
    def _text(self) -> str:
        return f"{self._method} on {self._name}: {self._told}"

    @property
    def _answered(self) -> str:
        said = f" ({self._told})" if self._told else ""
        return f"{self._name} answered HTTP {self._status}{said}"


def suggested(message: str) -> int | None:
    """Blocks in the range that an endpoint says would work; None when it names none."""
    found = _SUGGESTED.search(message)
    if found is None:
        return None
    first, last = (
        int(each, 0) if each[:2] in ("0x", "0X") else int(each) for each in found.groups()
    )
    return last - first + 1 if last >= first else None


def revert_data(data: Any) -> bytes:
    """The revert data in an error's ``data``; empty without any."""
    # Geth and anvil give a hex string, Parity's kin words before it, some proxies an object.
    if isinstance(data, dict):
        data = data.get("data", data.get("result"))
    if not isinstance(data, str):
        return b""
    data = data.removeprefix("Reverted ")
    if not data.startswith("0x"):
        return b""
    try:
        return bytes.fromhex(data.removeprefix("0x"))
    except ValueError:
        return b""


def told_of(message: str, secrets: tuple[str, ...]) -> str:
    """An endpoint's words as they may be passed on: short, in one line, without the secrets."""
    for secret in secrets:
        message = message.replace(secret, "***")
    text = " ".join(message.split())
    return text if len(text) <= _TOLD else text[:_TOLD] + "..."
