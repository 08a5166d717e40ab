"""What a fulfilment costs and what may be paid for it. Pure; money in wei, prices in wei per gas."""

from __future__ import annotations

from oracle.chain.signer import Fees
from oracle.types import RegisteredModel, Request

#: Gas of one byte of calldata that is not zero.
CALLDATA_BYTE_GAS = 16
#: The contract demands 64/63 of what a call gets (EIP-150); a 32nd covers that, twice nested.
_RESERVE_SHARE = 32
_RESERVE_GAS = 60_000
_BPS = 10_000
#: Endpoints take a replacement only if both prices rise by 10 to 12.5%.
_BUMP_DIVISOR = 8
#: Room over the base fee before anything is sent: two full blocks raise it by 27% (EIP-1559), and
#: the rest is for the tip.
_ROOM_DIVISOR = 2


def gas_limit(request: Request, calldata: bytes) -> int:
    """The transaction's gas limit: the quote and what the inner calls' guarantees need on top."""
    units = request.gas_units
    return units + units // _RESERVE_SHARE + CALLDATA_BYTE_GAS * len(calldata) + _RESERVE_GAS


def share(request: Request, model: RegisteredModel) -> int:
    """The payee's part of the model fee in wei: what protocol and publisher leave.

    A fee in a token counts for nothing: its worth is not known here.
    """
    fee = request.fee if int(model.token, 16) == 0 else 0
    fee -= fee * request.protocol_bps // _BPS
    return fee - fee * model.receiver_bps // _BPS


def income(request: Request, model: RegisteredModel) -> int:
    """The most wei that the payee can get for a request."""
    return share(request, model) + request.gas_money


def ceiling(request: Request, model: RegisteredModel) -> int:
    """The gas price at which answering stops paying."""
    return income(request, model) // request.gas_units


def least(base_fee: int) -> int:
    """The lowest ceiling worth a transaction now: one at the base fee itself would soon be stuck.

    It does not ask for the endpoint's tip: the contract's quote is twice the base fee, and a
    request that pays it must be served on a chain whose usual tip is above its base fee, too.
    """
    return base_fee + base_fee // _ROOM_DIVISOR


def first(base_fee: int, tip: int, highest: int) -> Fees | None:
    """Prices for a first transaction: room for the base fee to double, within the ceiling.

    Returns:
        None when the ceiling is below `least`.
    """
    if highest < least(base_fee):
        return None
    max_fee = min(2 * base_fee + tip, highest)
    return Fees(max_fee=max_fee, priority_fee=min(tip, max_fee))


def bump(last: Fees, base_fee: int, tip: int, highest: int) -> Fees | None:
    """Prices that replace a transaction of the same nonce: an eighth more, or today's if higher.

    Returns:
        None when that is above the ceiling.
    """
    max_fee = max(_raised(last.max_fee), min(2 * base_fee + tip, highest))
    priority_fee = max(_raised(last.priority_fee), min(tip, max_fee))
    if max_fee > highest:
        return None
    return Fees(max_fee=max_fee, priority_fee=min(priority_fee, max_fee))


def _raised(price: int) -> int:
    return price + price // _BUMP_DIVISOR + 1
