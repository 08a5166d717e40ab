"""What a fulfilment costs and what may be paid for it. Pure; money in wei, prices in wei per gas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

from oracle.chain.rpc import FeeHistory
from oracle.chain.signer import Fees
from oracle.types import Codec, ModelSpec, RegisteredModel, Request

#: Gas of one byte of calldata that is not zero.
CALLDATA_BYTE_GAS = 16
#: What the contract quotes for a fulfilment besides verifier and callback, and for an element of
#: the circuit: `InferenceOracle.BASE_GAS`, `ELEMENT_GAS`, `TEXT_ELEMENT_GAS`.
BASE_GAS = 160_000
ELEMENT_GAS = 1_200
TEXT_ELEMENT_GAS = 27_000
#: Most gas of one transaction (EIP-7825).
TRANSACTION_GAS = 1 << 24
#: Most bytes of one transaction's calldata: endpoints refuse transactions above 128 KiB.
TRANSACTION_BYTES = 120 * 1024
#: More than a proof has.
_PROOF_BYTES = 8_192
#: Gas that one more item adds to a batch besides its callback: commitment, credit, preimage, logs.
_ITEM_GAS = 45_000
#: Bytes of an item in a batch's calldata besides input and callback data: 16 words, two paddings.
_ITEM_BYTES = 18 * 32 + 64
#: Gas of an item that is skipped.
_SKIPPED_GAS = 15_000
#: Gas to keep the hash of a callback that failed.
_UNDELIVERED_GAS = 22_100
#: The contract demands 64/63 of what a call gets (EIP-150); a 32nd covers that, twice nested.
_RESERVE_SHARE = 32
_RESERVE_GAS = 60_000
_BPS = 10_000
#: Endpoints take a replacement only if both prices rise by 10 to 12.5%.
_BUMP_DIVISOR = 8
#: Room over the base fee before anything is sent: two full blocks raise it by 27% (EIP-1559), and
#: the rest is for the tip.
_ROOM_DIVISOR = 2
#: A top-up adds at least this fraction of the gas money: `InferenceOracle.TOP_UP_DIVISOR`.
_TOP_UP_DIVISOR = 8
#: Above every gas price.
_NO_PRICE = 1 << 256


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """What single-row requests of one model cost together, against each alone.

    Gas by the contract's own quotes, which are upper bounds alike, so that they compare.
    """

    #: A request alone, without its callback.
    alone: int
    #: The batch circuit's proof, however many requests it answers.
    shared: int
    #: Bytes of its calldata.
    shared_bytes: int

    @classmethod
    def of(cls, spec: ModelSpec, size: int, skipped: int = 0) -> BatchTerms:
        """Those of a registered model and one of its batch sizes.

        Args:
            spec: the model as registered.
            size: of the batch circuit.
            skipped: requests that the proof names and that have ended.
        """
        verify_gas = {batch.size: batch.verify_gas for batch in spec.batches}[size]
        shared = _quote(spec, size, verify_gas) + skipped * _SKIPPED_GAS
        return cls(
            _quote(spec, 1, spec.verify_gas), shared, _PROOF_BYTES + 32 * size * spec.output.length
        )

    def saved(self, count: int) -> int:
        """Gas that ``count`` requests save together; less than zero when they cost more."""
        return count * (self.alone - _ITEM_GAS) - self.shared

    def units(self, requests: Sequence[Request]) -> int:
        """Gas of the batch, to be paid for out of the requests' money."""
        return self.shared + sum(map(self._own, requests))

    def fits(self, requests: Sequence[Request]) -> bool:
        """Whether one transaction may use as much gas and carry as many bytes."""
        own = sum(len(r.input) + len(r.callback_data) + _ITEM_BYTES for r in requests)
        calldata = self.shared_bytes + own
        gas = _with_reserve(self.sent_units(requests), calldata)
        return gas <= TRANSACTION_GAS and calldata <= TRANSACTION_BYTES

    def sent_units(self, requests: Sequence[Request]) -> int:
        """Gas of the batch when every callback fails, for `gas_limit`."""
        return self.units(requests) + _UNDELIVERED_GAS * len(requests)

    def ceiling(self, requests: Sequence[Request], model: RegisteredModel, subsidy: int = 0) -> int:
        """The gas price at which answering together stops paying.

        Each request pays for its part of the gas at its own price at most; above that the fees
        make up for it, and the node's ``subsidy`` (wei a request). Precondition: ``requests`` is
        not empty.
        """
        part = self.shared // len(requests)
        prices = sorted((r.gas_money // r.gas_units, part + self._own(r)) for r in requests)
        spare = sum(share(request, model) + subsidy for request in requests)
        price, used = prices[0][0], 0
        for (_, gas), (following, _) in zip(prices, [*prices[1:], (_NO_PRICE, 0)], strict=True):
            used += gas
            if spare // used <= following - price:
                break
            spare -= used * (following - price)
            price = following
        return price + spare // used

    def _own(self, request: Request) -> int:
        """What is the request's own: bookkeeping, callback, callback data."""
        return request.gas_units - self.alone + _ITEM_GAS


def gas_limit(units: int, calldata: bytes) -> int:
    """A transaction's gas limit: its gas and what the inner calls' guarantees need on top.

    Args:
        units: what the request is quoted for, or `BatchTerms.sent_units`.
        calldata: the call.
    """
    return min(_with_reserve(units, len(calldata)), TRANSACTION_GAS)


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


def ceiling(request: Request, model: RegisteredModel, subsidy: int = 0) -> int:
    """The gas price at which answering stops paying, or costs ``subsidy`` wei."""
    return (income(request, model) + subsidy) // request.gas_units


def minimum_top_up(gas_money: int) -> int:
    """The least wei that may be added to gas money: `InferenceOracle.minimumTopUp`."""
    return max(gas_money // _TOP_UP_DIVISOR, 1)


def least(base_fee: int) -> int:
    """The lowest ceiling worth a transaction now: one at the base fee itself would soon be stuck.

    It does not ask for the endpoint's tip: the contract's quote is twice the base fee, and a
    request that pays it must be served on a chain whose usual tip is above its base fee, too.
    """
    return base_fee + base_fee // _ROOM_DIVISOR


def usual_tip(history: FeeHistory) -> int | None:
    """The tip that got into recent blocks: the median over those that were not empty.

    Returns:
        None when all of them were.
    """
    tips = [tip for tip, used in zip(history.tips, history.used, strict=False) if used > 0]
    return median_low(tips) if tips else None


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
    max_fee = max(raised(last.max_fee), min(2 * base_fee + tip, highest))
    priority_fee = max(raised(last.priority_fee), min(tip, max_fee))
    if max_fee > highest:
        return None
    return Fees(max_fee=max_fee, priority_fee=min(priority_fee, max_fee))


def raised(price: int) -> int:
    """The least price that replaces one of the same nonce."""
    return price + price // _BUMP_DIVISOR + 1


def _quote(spec: ModelSpec, size: int, verify_gas: int) -> int:
    """The contract's quote for a request without a callback."""
    element = ELEMENT_GAS + (TEXT_ELEMENT_GAS if spec.codec is Codec.TEXT else 0)
    return BASE_GAS + verify_gas + element * size * (spec.input.length + spec.output.length)


def _with_reserve(units: int, calldata_bytes: int) -> int:
    return units + units // _RESERVE_SHARE + CALLDATA_BYTE_GAS * calldata_bytes + _RESERVE_GAS
