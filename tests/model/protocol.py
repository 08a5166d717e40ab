"""What the oracle promises, in plain Python: requests, escrow, credits, time, fees, deliveries.

Written from the interfaces and the design, not from the contracts, so that the two can be held
against each other. Every action has a ``why_not_...`` that collects all reasons to refuse it, in no
order (a contract may name any of them), and a method that does it, which assumes that there are
none. Money is wei or the smallest unit of a token; time is seconds. What only the chain knows (gas
used) comes in as an observation and is held to its bounds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from eth_utils.crypto import keccak

from oracle import tensor
from oracle.errors import TensorEncoding, TensorError, TensorLength, TensorRange
from oracle.types import Codec, TagLayout, TensorSpec

ZERO = "0x" + "00" * 20
BPS = 10_000
#: What the interfaces fix.
MAX_LIFETIME = 30 * 86_400
DEFAULT_LIFETIME = 86_400
MAX_CALLBACK_GAS = 5_000_000
MAX_PROTOCOL_BPS = 1_000
QUOTE_HEADROOM = 2
BASE_GAS = 160_000
ELEMENT_GAS = 1_200
TEXT_ELEMENT_GAS = 27_000
CALLBACK_BYTE_GAS = 24
TEXT_BYTES = 32
MAX_CALLBACK_DATA = 8_192
MAX_GAS_UNITS = 2**24

TAG = TagLayout()

Reasons = frozenset[str]


class Status(Enum):
    """As in ``IInferenceOracle.Status``; a request that nobody made is absent."""

    OPEN = 1
    FULFILLED = 2
    REFUNDED = 3


class Skipped(Enum):
    """As in ``IInferenceOracle.Skipped``."""

    NOT_OPEN = 0
    COMMITMENT_MISMATCH = 1
    DEADLINE_PASSED = 2
    PREIMAGE_MISMATCH = 3


@dataclass(frozen=True)
class Model:
    """A registered model. ``provable`` is False where the verifier accepts nothing."""

    publisher: str
    codec: Codec
    input: TensorSpec
    output: TensorSpec
    token: str
    fee: int
    receiver: str
    receiver_bps: int
    #: Rows of each circuit -> gas of its verifier.
    verify_gas: dict[int, int]
    provable: bool = True
    verifier: str = ZERO
    tag: TagLayout = TAG
    input_ranges: tensor.Ranges = ()

    def size(self, rows: int) -> int | None:
        """Rows of the smallest circuit for so many; None where there is none."""
        return min((s for s in self.verify_gas if s >= rows > 0), default=None)


@dataclass(frozen=True)
class Request:
    """The preimage of a commitment."""

    account: str
    model_id: int
    callback_contract: str
    callback_gas: int
    refund_to: str
    deadline: int
    fee: int
    gas_money: int
    gas_units: int
    protocol_bps: int
    input_hash: bytes
    callback_data_hash: bytes

    @property
    def fields(self) -> tuple[object, ...]:
        """In the order of the ABI."""
        return tuple(vars(self).values())

    @property
    def commitment(self) -> bytes:
        """``keccak256(abi.encode(request))``."""
        return keccak(b"".join(map(_word, self.fields)))


@dataclass(frozen=True)
class Item:
    """A request as somebody presents it for fulfilment: possibly not as it was made."""

    request_id: int
    request: Request
    input: bytes
    callback_data: bytes


@dataclass(frozen=True)
class SignedRequest:
    """As in ``IInferenceOracle.SignedRequest``."""

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

    @property
    def fields(self) -> tuple[object, ...]:
        """In the order of the ABI."""
        return tuple(vars(self).values())

    def digest(self, chain_id: int, oracle: str) -> bytes:
        """What the account signs (EIP-712)."""
        kind = keccak(
            text="SignedRequest(address account,uint256 modelId,bytes32 inputHash,"
            "address callbackContract,uint64 callbackGas,bytes32 callbackDataHash,"
            "address refundTo,uint64 deadline,uint96 maxCost,uint96 relayerTip,uint256 nonce,"
            "uint64 validUntil)"
        )
        domain = keccak(
            keccak(
                text="EIP712Domain(string name,string version,uint256 chainId,"
                "address verifyingContract)"
            )
            + keccak(text="InferenceOracle")
            + keccak(text="1")
            + _word(chain_id)
            + _word(oracle)
        )
        return keccak(b"\x19\x01" + domain + keccak(kind + b"".join(map(_word, self.fields))))


@dataclass
class Entry:
    """A request that was made, with what its log tells."""

    request_id: int
    request: Request
    input: bytes
    callback_data: bytes
    rows: int
    status: Status = Status.OPEN
    #: After a delivery, and what of it can be retried: (gas, output).
    output: bytes | None = None
    undelivered: bool = False

    @property
    def item(self) -> Item:
        """As an honest node presents it."""
        return Item(self.request_id, self.request, self.input, self.callback_data)


class Protocol:
    """The whole state."""

    def __init__(self, chain_id: int, oracle: str, owner: str, now: int) -> None:
        self.chain_id = chain_id
        self.oracle = oracle
        self.owner = owner
        self.pending_owner = ZERO
        self.now = now
        self.base_fee = 0
        #: The base fee that the last request to see a change of more than an eighth saw.
        self.last_base_fee = 0
        self.paused = False
        self.protocol_bps = 0
        self.models: dict[int, Model] = {}
        #: Verifiers whose code is not what was registered.
        self.changed_verifiers: set[str] = set()
        self.closed: set[int] = set()
        self.successors: dict[int, int] = {}
        self.requests: dict[int, Entry] = {}
        #: How often an account asked what it had asked before.
        self.repeats: dict[str, int] = defaultdict(int)
        self.used_nonces: set[tuple[str, int]] = set()
        self.credits: dict[tuple[str, str], int] = defaultdict(int)
        #: Fees and gas money of open requests, by token.
        self.escrow: dict[str, int] = defaultdict(int)

    # --- quotes

    def gas_units(self, model_id: int, rows: int, callback_gas: int, data_length: int) -> int:
        """Gas that a request of so many rows is quoted for."""
        model = self.models[model_id]
        size = model.size(rows)
        assert size is not None
        elements = size * (model.input.length + model.output.length)
        per_element = ELEMENT_GAS + (TEXT_ELEMENT_GAS if model.codec is Codec.TEXT else 0)
        return (
            BASE_GAS
            + model.verify_gas[size]
            + callback_gas
            + per_element * elements
            + CALLBACK_BYTE_GAS * data_length
        )

    def price(self) -> int:
        """Wei a gas that the oracle quotes."""
        return QUOTE_HEADROOM * (self.base_fee or self.last_base_fee)

    def _remembered(self) -> int:
        """The base fee that is remembered once a request has been made now."""
        drift = abs(self.base_fee - self.last_base_fee)
        return self.base_fee if 8 * drift > self.last_base_fee else self.last_base_fee

    # --- requests

    def why_not_request(
        self,
        account: str,
        model_id: int,
        rows: int,
        data: bytes,
        callback_contract: str,
        callback_gas: int,
        callback_data: bytes,
        refund_to: str,
        deadline: int,
        value: int | None,
    ) -> Reasons:
        """``value`` None: paid by credit, which is checked elsewhere."""
        reasons = set()
        if self.paused:
            reasons.add("RequestsPaused")
        if refund_to == ZERO:
            reasons.add("InvalidRefundAddress")
        if not self.now < deadline <= self.now + MAX_LIFETIME:
            reasons.add("InvalidDeadline")
        if (
            callback_contract not in (ZERO, account)
            or (callback_contract == ZERO) != (callback_gas == 0)
            or callback_gas > MAX_CALLBACK_GAS
        ):
            reasons.add("InvalidCallback")
        model = self.models.get(model_id)
        if model is None or model_id in self.closed:
            reasons.add("ModelNotOpen")
        if model is None:
            return frozenset(reasons)
        if model.size(rows) is None:
            return frozenset({*reasons, "InvalidBatchSize", "InputLength"})
        reasons |= self._why_not_input(model, rows, data)
        if len(callback_data) > MAX_CALLBACK_DATA:
            reasons.add("CallbackDataTooLong")
        if self.gas_units(model_id, rows, callback_gas, len(callback_data)) > MAX_GAS_UNITS:
            reasons.add("TooMuchGas")
        if value is not None:
            units = self.gas_units(model_id, rows, callback_gas, len(callback_data))
            fee = model.fee * rows if model.token == ZERO else 0
            if value < fee + self.base_fee * units:
                reasons.add("Underpaid")
        return frozenset(reasons)

    def request_id(self, account: str, model_id: int, data: bytes) -> int:
        """The id of the account's next request."""
        new = self._id(0, account, model_id, data)
        if new not in self.requests:
            return new
        return self._id(self.repeats[account] + 1, account, model_id, data)

    def _id(self, repeat: int, account: str, model_id: int, data: bytes) -> int:
        words = (self.chain_id, self.oracle, repeat, account, model_id, keccak(data))
        return int.from_bytes(keccak(b"".join(map(_word, words))), "big")

    def request(
        self,
        account: str,
        model_id: int,
        rows: int,
        data: bytes,
        callback_contract: str,
        callback_gas: int,
        callback_data: bytes,
        refund_to: str,
        deadline: int,
        value: int,
    ) -> Entry:
        """Open a request; ``value`` is all its ETH, the fee included where that is in ETH."""
        model = self.models[model_id]
        fee = model.fee * rows
        request_id = self.request_id(account, model_id, data)
        assert request_id not in self.requests, "an id was used before"
        self.last_base_fee = self._remembered()
        self.repeats[account] += self._id(0, account, model_id, data) in self.requests
        entry = Entry(
            request_id,
            Request(
                account=account,
                model_id=model_id,
                callback_contract=callback_contract,
                callback_gas=callback_gas,
                refund_to=refund_to,
                deadline=deadline,
                fee=fee,
                gas_money=value - (fee if model.token == ZERO else 0),
                gas_units=self.gas_units(model_id, rows, callback_gas, len(callback_data)),
                protocol_bps=self.protocol_bps,
                input_hash=keccak(data),
                callback_data_hash=keccak(callback_data),
            ),
            data,
            callback_data,
            rows,
        )
        self.requests[request_id] = entry
        self.escrow[model.token] += fee
        self.escrow[ZERO] += entry.request.gas_money
        return entry

    def why_not_request_for(
        self, signed: SignedRequest, data: bytes, callback_data: bytes, *, genuine: bool
    ) -> Reasons:
        """``genuine``: the signature is the account's."""
        reasons = set(
            self.why_not_request(
                signed.account,
                signed.model_id,
                1,
                data,
                signed.callback_contract,
                signed.callback_gas,
                callback_data,
                signed.refund_to,
                signed.deadline,
                None,
            )
        )
        if not genuine:
            reasons.add("InvalidSignature")
        if self.now > signed.valid_until:
            reasons.add("SignatureExpired")
        if (signed.account, signed.nonce) in self.used_nonces:
            reasons.add("NonceUsed")
        if (keccak(data), keccak(callback_data)) != (signed.input_hash, signed.callback_data_hash):
            reasons.add("PreimageMismatch")
        if signed.model_id in self.models:
            model = self.models[signed.model_id]
            cost = self.cost_for(signed, callback_data)
            if cost > signed.max_cost:
                reasons.add("CostAboveMaximum")
            if self.credits[ZERO, signed.account] < cost + signed.relayer_tip:
                reasons.add("InsufficientCredit")
            if model.token != ZERO and self.credits[model.token, signed.account] < model.fee:
                reasons.add("InsufficientCredit")
        return frozenset(reasons)

    def cost_for(self, signed: SignedRequest, callback_data: bytes) -> int:
        """Wei that a signed request takes for gas money and a fee in ETH."""
        model = self.models[signed.model_id]
        units = self.gas_units(signed.model_id, 1, signed.callback_gas, len(callback_data))
        price = QUOTE_HEADROOM * (self.base_fee or self._remembered())
        return price * units + (model.fee if model.token == ZERO else 0)

    def request_for(
        self, signed: SignedRequest, data: bytes, callback_data: bytes, relayer: str
    ) -> Entry:
        """Open a request from the account's credit."""
        model = self.models[signed.model_id]
        cost = self.cost_for(signed, callback_data)
        self.used_nonces.add((signed.account, signed.nonce))
        self._debit(ZERO, signed.account, cost + signed.relayer_tip)
        self.credits[ZERO, relayer] += signed.relayer_tip
        if model.token != ZERO:
            self._debit(model.token, signed.account, model.fee)
        return self.request(
            signed.account,
            signed.model_id,
            1,
            data,
            signed.callback_contract,
            signed.callback_gas,
            callback_data,
            signed.refund_to,
            signed.deadline,
            cost,
        )

    def why_not_top_up(self, item: Item, value: int) -> Reasons:
        """A top-up adds at least an eighth, rounded down."""
        reasons = set(self._why_not_end(item))
        if self.now > item.request.deadline:
            reasons.add("DeadlinePassed")
        if value < max(item.request.gas_money // 8, 1):
            reasons.add("TopUpTooSmall")
        if item.request.gas_money + value >= 2**96:
            reasons.add("SafeCastOverflowedUintDowncast")
        return frozenset(reasons)

    def top_up(self, item: Item, value: int) -> None:
        """More gas money; the commitment changes with it."""
        entry = self.requests[item.request_id]
        entry.request = replace(entry.request, gas_money=entry.request.gas_money + value)
        self.escrow[ZERO] += value

    # --- results

    def why_not_fulfil(
        self, item: Item, payee: str, outputs: Sequence[int], proof: bytes
    ) -> Reasons:
        """``outputs`` are field elements as sent, canonical or not."""
        reasons = set(self._why_not_end(item))
        entry = self.requests.get(item.request_id)
        if entry is None or "CommitmentMismatch" in reasons:
            return frozenset(reasons)
        if self.now > entry.request.deadline:
            reasons.add("DeadlinePassed")
        if (item.input, item.callback_data) != (entry.input, entry.callback_data):
            return frozenset({*reasons, "PreimageMismatch"})
        model = self.models[entry.request.model_id]
        size = model.size(entry.rows)
        assert size is not None
        if len(outputs) != size * model.output.length:
            return frozenset({*reasons, "OutputLength"})
        if not _encodes(model, outputs[: entry.rows * model.output.length]):
            reasons.add("InvalidOutput")
        rows = _rows(model, entry.rows, entry.input)
        if model.verifier in self.changed_verifiers:
            reasons.add("VerifierChanged")
        if not self._accepts(model, size, rows, [item.request_id], payee, outputs, proof):
            reasons.add("ProofRejected")
        return frozenset(reasons)

    def fulfil(
        self, entry: Entry, payee: str, outputs: Sequence[int], gas_paid: int, *, delivered: bool
    ) -> int:
        """End a request with a result; what the payee got of the fee."""
        request, model = entry.request, self.models[entry.request.model_id]
        assert entry.status is Status.OPEN, "a request ended twice"
        assert 0 <= gas_paid <= request.gas_money, "more gas was paid than was escrowed"
        protocol = request.fee * request.protocol_bps // BPS
        publisher = (request.fee - protocol) * model.receiver_bps // BPS
        fee_paid = request.fee - protocol - publisher
        self.escrow[model.token] -= request.fee
        self.escrow[ZERO] -= request.gas_money
        self.credits[model.token, self.oracle] += protocol
        self.credits[model.token, model.receiver] += publisher
        self.credits[model.token, payee] += fee_paid
        self.credits[ZERO, payee] += gas_paid
        self.credits[ZERO, request.refund_to] += request.gas_money - gas_paid
        entry.status = Status.FULFILLED
        entry.output = self.encode(entry, outputs)
        entry.undelivered = request.callback_contract != ZERO and not delivered
        return fee_paid

    def encode(self, entry: Entry, outputs: Sequence[int]) -> bytes:
        """Result bytes of a request's own rows."""
        model = self.models[entry.request.model_id]
        own = outputs[: entry.rows * model.output.length]
        spec = replace(model.output, length=len(own))
        return tensor.write([tensor.from_field(v) for v in own], spec, model.codec)

    def sort_batch(self, items: Sequence[Item]) -> dict[int, Skipped | None]:
        """For each position, why the item is skipped; None where it is delivered."""
        found: dict[int, Skipped | None] = {}
        seen = set()
        for position, item in enumerate(items):
            entry = self.requests.get(item.request_id)
            found[position] = None
            if entry is None or entry.status is not Status.OPEN or item.request_id in seen:
                found[position] = Skipped.NOT_OPEN
            elif item.request.commitment != entry.request.commitment:
                found[position] = Skipped.COMMITMENT_MISMATCH
            elif self.now > entry.request.deadline:
                found[position] = Skipped.DEADLINE_PASSED
            elif (item.input, item.callback_data) != (entry.input, entry.callback_data):
                found[position] = Skipped.PREIMAGE_MISMATCH
            else:
                seen.add(item.request_id)
        return found

    def why_not_batch(
        self, items: Sequence[Item], payee: str, outputs: Sequence[int], proof: bytes
    ) -> Reasons:
        """Reasons against the whole batch."""
        if not items:
            return frozenset({"NothingToDeliver"})
        reasons = set()
        model_id = items[0].request.model_id
        model = self.models[model_id]
        if any(item.request.model_id != model_id for item in items):
            reasons.add("MixedModels")
        sorted_items = self.sort_batch(items)
        if all(sorted_items.values()):
            reasons.add("NothingToDeliver")
        size = model.size(len(items))
        if size is None:
            return frozenset({*reasons, "InvalidBatchSize"})
        if len(outputs) != size * model.output.length:
            return frozenset({*reasons, "OutputLength"})
        rows = []
        for item in items:
            try:
                rows.append(tensor.read(item.input, model.input, model.codec))
            except TensorError:
                return frozenset({*reasons, "InputLength", "TextSyntax"})
        width = model.output.length
        for position, why in sorted_items.items():
            if why is None and not _encodes(
                model, outputs[position * width : (position + 1) * width]
            ):
                reasons.add("InvalidOutput")
        if model.verifier in self.changed_verifiers:
            reasons.add("VerifierChanged")
        ids = [item.request_id for item in items]
        if not self._accepts(model, size, rows, ids, payee, outputs, proof):
            reasons.add("ProofRejected")
        return frozenset(reasons)

    def proof(
        self,
        model_id: int,
        rows: Sequence[Sequence[int]],
        request_ids: Sequence[int],
        payee: str,
        outputs: Sequence[int],
        *,
        chain_id: int | None = None,
    ) -> bytes:
        """What a verifier that accepts exactly one statement takes for this one."""
        model = self.models[model_id]
        size = model.size(len(rows))
        assert size is not None
        instances = [
            *map(tensor.to_field, tensor.pad(rows, size)),
            *tensor.tag(chain_id or self.chain_id, self.oracle, request_ids, payee, model.tag),
            *outputs,
        ]
        return keccak(b"".join(map(_word, instances)))

    def rows(self, entry: Entry) -> list[tuple[int, ...]]:
        """The input of a request, row by row."""
        return _rows(self.models[entry.request.model_id], entry.rows, entry.input)

    def why_not_retry(
        self,
        request_id: int,
        target: str,
        gas: int,
        refund_to: str,
        limit: int,
        output: bytes,
        data: bytes,
    ) -> Reasons:
        """Only what failed, with at least the promised gas."""
        reasons = set()
        entry = self.requests.get(request_id)
        if (
            entry is None
            or not entry.undelivered
            or (target, gas) != (entry.request.callback_contract, entry.request.callback_gas)
            or refund_to != entry.request.refund_to
            or (output, data) != (entry.output, entry.callback_data)
        ):
            reasons.add("NothingToRetry")
        if limit < gas:
            reasons.add("RetryGas")
        return frozenset(reasons)

    # --- ends without a result, and money

    def why_not_refund(self, item: Item) -> Reasons:
        """After the deadline only."""
        reasons = set(self._why_not_end(item))
        if self.now <= item.request.deadline:
            reasons.add("DeadlineNotPassed")
        return frozenset(reasons)

    def refund(self, item: Item) -> None:
        """All money back."""
        entry = self.requests[item.request_id]
        request, token = entry.request, self.models[entry.request.model_id].token
        assert entry.status is Status.OPEN, "a request ended twice"
        self.escrow[token] -= request.fee
        self.escrow[ZERO] -= request.gas_money
        self.credits[token, request.refund_to] += request.fee
        self.credits[ZERO, request.refund_to] += request.gas_money
        entry.status = Status.REFUNDED

    def withdraw(self, token: str, account: str) -> int:
        """Take a whole credit out."""
        return self.credits.pop((token, account))

    def holdings(self, token: str) -> int:
        """What the oracle must hold, to the wei."""
        credited = sum(amount for (held, _), amount in self.credits.items() if held == token)
        return credited + self.escrow[token]

    # --- parts

    def _why_not_end(self, item: Item) -> Reasons:
        entry = self.requests.get(item.request_id)
        if entry is None or entry.status is not Status.OPEN:
            return frozenset({"NotOpen"})
        if item.request.commitment != entry.request.commitment:
            return frozenset({"CommitmentMismatch"})
        return frozenset()

    @staticmethod
    def _why_not_input(model: Model, rows: int, data: bytes) -> set[str]:
        spec = replace(model.input, length=rows * model.input.length)
        if model.codec is Codec.TEXT and len(data) > TEXT_BYTES * spec.length:
            return {"TextTooLong", "TextSyntax", "InputLength", "TextRange"}
        try:
            numbers = tensor.read(data, spec, model.codec)
            tensor.check(numbers, spec, tuple(model.input_ranges) * rows)
        except TensorRange:
            return {"InputRange" if model.codec is Codec.PACKED else "TextRange"}
        except TensorLength:
            if model.codec is Codec.TEXT:
                return {"InputLength", "TextRange"}
            return {"InputLength", *(["InputRange"] if model.input_ranges else [])}
        except TensorEncoding:
            # What cannot be read may also be too long or out of range.
            return {"TextSyntax", "TextRange", "InputLength"}
        return set()

    def _accepts(
        self,
        model: Model,
        size: int,
        rows: Sequence[Sequence[int]],
        request_ids: Sequence[int],
        payee: str,
        outputs: Sequence[int],
        proof: bytes,
    ) -> bool:
        instances = [
            *map(tensor.to_field, tensor.pad(rows, size)),
            *tensor.tag(self.chain_id, self.oracle, request_ids, payee, model.tag),
            *outputs,
        ]
        return model.provable and proof == keccak(b"".join(map(_word, instances)))

    def _debit(self, token: str, account: str, amount: int) -> None:
        self.credits[token, account] -= amount
        assert self.credits[token, account] >= 0, "credit from nothing"


def _rows(model: Model, rows: int, data: bytes) -> list[tuple[int, ...]]:
    length = model.input.length
    values = tensor.read(data, replace(model.input, length=rows * length), model.codec)
    return [values[i : i + length] for i in range(0, len(values), length)]


def _encodes(model: Model, fields: Sequence[int]) -> bool:
    return all(
        field < tensor.R
        and model.output.minimum <= tensor.from_field(field) <= model.output.maximum
        for field in fields
    )


def _word(value: object) -> bytes:
    """One word of the standard ABI encoding."""
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    raw = value if isinstance(value, bytes) else bytes.fromhex(str(value).removeprefix("0x"))
    return raw.rjust(32, b"\0")
