"""What the contract refuses an account, in a person's words, with what to do about it.

The contract says an error's name and its arguments. Those that say enough by themselves, and those of
an endpoint that makes them up, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from eth_utils.address import to_checksum_address

from oracle.chain.contracts import Status
from oracle.errors import TransactionReverted
from oracle.log import request_hex

#: The first second of the year 10000.
_LAST_DATE = 253_402_300_800


@dataclass(frozen=True, slots=True)
class _Words:
    message: str
    remedy: str
    #: To be typed; may be empty.
    command: str = ""


def explained(error: TransactionReverted, request_id: int | None = None) -> TransactionReverted:
    """The same refusal in plain words.

    Args:
        error: of a call.
        request_id: the request that the call is about, where there is one.
    """
    count, say = _SAID.get(error.name, (0, None))
    arguments = error.arguments
    if request_id is not None and say is None:
        count, say = _SAID_OF_A_REQUEST.get(error.name, (0, None))
        arguments = (request_hex(request_id), *arguments)
    if say is None or len(error.arguments) != count:
        return error
    words = say(*arguments)
    found = TransactionReverted(
        words.message, remedy=words.remedy, name=error.name, arguments=error.arguments
    )
    return found.ending_in(words.command) if words.command else found


def _not_open(name: str, _: int, status: int) -> _Words:
    match status:
        case Status.FULFILLED:
            return _Words(
                f"request {name} has been answered", "Read the answer", f"oracle result {name}"
            )
        case Status.REFUNDED:
            return _Words(
                f"request {name} has been refunded: its money is credit of its refund address",
                "That account gets it with",
                "oracle withdraw --key-file KEY",
            )
        case _:
            return _Words(f"the oracle has no request {name}", "Check the id and the oracle")


def _not_yet(name: str, deadline: int) -> _Words:
    return _Words(
        f"request {name} can be answered until {_date(deadline)}, by the chain's time",
        "Ask for the refund after that; what it waits for says",
        f"oracle why {name}",
    )


def _too_late(name: str, deadline: int) -> _Words:
    return _Words(
        f"the deadline of request {name} was {_date(deadline)}: nobody can answer it any more",
        "Have its money given back",
        f"oracle refund {name} --key-file KEY",
    )


def _failed_again(name: str, _: int) -> _Words:
    return _Words(
        f"the callback of request {name} fails again, and nothing was sent",
        "How much gas it needs, or what it reverts with, says",
        f"oracle why {name}",
    )


def _not_failed(name: str, _: int) -> _Words:
    return _Words(
        f"request {name} has no callback that failed", "Read its answer", f"oracle result {name}"
    )


def _gas_low(_: str, given: int, promised: int) -> _Words:
    return _Words(
        f"the callback was promised {promised} gas, {given} is less", f"Give {promised} or more"
    )


def _paused() -> _Words:
    return _Words("the oracle's owner has paused new requests", "Wait, and ask again")


def _underpaid(sent: int, required: int) -> _Words:
    return _Words(
        f"the request costs {required} wei by now, {sent} wei are too little: the base fee has risen",
        "Ask again",
    )


def _not_taken(to: str) -> _Words:
    return _Words(f"{to_checksum_address(to)} does not take ether", "Name an account that does")


#: By the contract's name: how many arguments it has, and the words.
_SAID: dict[str, tuple[int, Callable[..., _Words]]] = {
    "RequestsPaused": (0, _paused),
    "Underpaid": (2, _underpaid),
    "WithdrawalFailed": (1, _not_taken),
}
#: The same of errors about one request, which is named, too.
_SAID_OF_A_REQUEST: dict[str, tuple[int, Callable[..., _Words]]] = {
    "NotOpen": (2, _not_open),
    "DeadlineNotPassed": (1, _not_yet),
    "DeadlinePassed": (1, _too_late),
    "CallbackFailed": (1, _failed_again),
    "NothingToRetry": (1, _not_failed),
    "RetryGas": (2, _gas_low),
}


def _date(second: Any) -> str:
    if not 0 <= second < _LAST_DATE:
        return f"second {second}"
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%SZ}"
