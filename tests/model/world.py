"""Who and what takes part in a random run, and the dice: every choice comes from one seed."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, TypeVar

from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from oracle import tensor
from oracle.chain.input_ranges import creation_code
from oracle.circuits.srs import ceremony_pins
from oracle.errors import TensorError
from oracle.types import Codec, InputKind, ProofSystem, TensorSpec
from tests.model.chain import Chain, Deployed
from tests.model.protocol import ZERO, Entry, Item, Model, Protocol, Request

T = TypeVar("T")

CHAIN_ID = 1
#: Little more than the verifier needs, so that a fulfilment can cost more than it was quoted for.
VERIFY_GAS = 30_000
#: Callback data of an item that only costs gas.
BALLAST = bytes(200_000)
#: A callback with this much gas has room for what an `Actor` does; with `STARVING`, never.
ENOUGH = 400_000
STARVING = 3_000
#: What a hungry actor needs.
FEAST = 3_000_000
#: Room for a request made from inside a callback.
ENOUGH_TO_MEDDLE = 1_500_000
#: Notes that are kept, and how many of the last are told of a failure.
_KEPT, _TOLD = 5_000, 8

INPUT = TensorSpec(length=3, width=2, scale=8, minimum=-2_000, maximum=2_000)
OUTPUT = TensorSpec(length=2, width=3, scale=14, minimum=-400_000, maximum=400_000)
#: Its range is its width's whole range.
BYTES = TensorSpec(length=5, width=1, scale=0, minimum=-128, maximum=127)

#: Of `INPUT`, one for each element.
RANGES = ((-2_000, 300), (-50, 50), (-1, 0))


class Mood(IntEnum):
    """As in the contract `Actor`."""

    CONTENT = 0
    REVERTING = 1
    BURNING = 2
    BOMBING_RETURN = 3
    BOMBING_REVERT = 4
    MEDDLING = 5
    HUNGRY = 6


@dataclass(frozen=True)
class Nested:
    """The request that a meddling actor makes when it gets control."""

    model_id: int
    data: bytes
    value: int


@dataclass
class Actor:
    """A smart account on the chain and its state of mind. Meddling without a plan: an attack."""

    deployed: Deployed
    mood: Mood = Mood.CONTENT
    refuses_money: bool = False
    nested: Nested | None = None
    deliveries: int = 0

    @property
    def address(self) -> str:
        """Where it is."""
        return self.deployed.address

    def succeeds(self, gas: int) -> bool:
        """Whether a callback with this much gas does."""
        if self.mood is Mood.HUNGRY:
            return gas >= FEAST
        return gas > STARVING and self.mood in (Mood.CONTENT, Mood.BOMBING_RETURN, Mood.MEDDLING)


class World:
    """One chain, its model, and chance."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self._notes: deque[tuple[int | None, str]] = deque(maxlen=_KEPT)
        self._subject: int | None = None
        self._open: list[int] = []
        self._ended: list[int] = []

        keys = [PrivateKey(keccak(text=f"person {index}")) for index in range(4)]
        self.keys: dict[str, PrivateKey] = {
            key.public_key.to_checksum_address(): key for key in keys
        }
        self.people = [*self.keys]
        self.nodes = [_address(0xC0), _address(0xC1)]
        self.thief = _address(0xEE)
        self.publishers = [_address(0xB0), _address(0xB1)]
        self.owners = [_address(0xD0), _address(0xD1)]
        accounts = [*self.people, *self.nodes, self.thief, *self.publishers, *self.owners]

        self.chain = Chain(_address(0xDE))
        deploy = self.chain.deploy
        self.registry = deploy("ModelRegistry")
        self.oracle = deploy(
            "InferenceOracle", self.registry.address, self.owners[0], with_base_fee=True
        )
        self.lens = deploy("InferenceLens", self.oracle.address, with_base_fee=True)
        self.actors = {a.address: a for a in (Actor(deploy("Actor")) for _ in range(3))}
        self.accounts = [*accounts, *self.actors]
        #: One to trust, one that accepts nothing, one whose code changes.
        self.verifier = deploy("HashVerifier").address
        self.burning_verifier = deploy("BurningVerifier").address
        self.changing_verifier = deploy("HashVerifier").address
        #: Address -> (contract, part of a transfer that it keeps in basis points).
        self.tokens = {
            token.address: (token, kept)
            for token, kept in (
                (deploy("ModelToken", 0, False), 0),
                (deploy("ModelToken", 0, True), 0),
                (deploy("ModelToken", 300, False), 300),
            )
        }
        self.model = Protocol(CHAIN_ID, self.oracle.address, self.owners[0], self.chain.now)
        self._equip()

    def begin(self) -> None:
        """A new action."""
        self._subject = None

    def history(self) -> Iterator[str]:
        """What was done to the request in question, and what was done last."""
        if self._subject is not None:
            yield f"(request {self._subject:#x})"
        last = len(self._notes) - _TOLD
        for index, (subject, note) in enumerate(self._notes):
            if index >= last or (subject is not None and subject == self._subject):
                yield note

    # --- the stage

    def _equip(self) -> None:
        for account in self.accounts:
            self.chain.fund(account)
            for token, _ in self.tokens.values():
                self.chain.send(self.people[0], token, token.calldata("mint", account, 10**30))
                # The thief has money, but gives nobody a right to it.
                if account != self.thief:
                    approval = token.calldata("approve", self.oracle.address, 2**256 - 1)
                    self._as(account, token, approval)
        plain, silent, greedy = self.tokens
        first = Model(
            publisher=self.publishers[0],
            codec=Codec.PACKED,
            input=INPUT,
            output=OUTPUT,
            token=ZERO,
            fee=10_007,
            receiver=self.publishers[0],
            receiver_bps=2_500,
            verify_gas={1: VERIFY_GAS, 2: VERIFY_GAS + 7, 4: VERIFY_GAS + 20_000},
            verifier=self.verifier,
        )
        other = self.publishers[1]
        text = replace(INPUT, width=32)
        self._register(first)
        self._register(replace(first, input=BYTES, fee=0, receiver_bps=0))
        self._register(replace(first, publisher=other, token=plain, receiver=other, fee=999_999))
        self._register(replace(first, token=silent, receiver_bps=10_000))
        self._register(replace(first, token=greedy))
        self._register(replace(first, codec=Codec.TEXT, input=text, verify_gas={1: VERIFY_GAS}))
        self._register(replace(first, codec=Codec.TEXT, input=text, receiver=self.oracle.address))
        hopeless = replace(first, provable=False, verifier=self.burning_verifier)
        self._register(replace(hopeless, verify_gas={1: 30_000}))
        self._register(replace(first, verifier=self.changing_verifier))
        self._register(replace(first, input_ranges=RANGES))
        self._register(replace(first, codec=Codec.TEXT, input=text, input_ranges=RANGES))

    def _register(self, model: Model) -> None:
        code_hash = self.chain.code_hash(model.verifier)
        verifiers = [
            (
                *(model.verifier, code_hash, gas, size, ProofSystem.HALO2_KZG),
                *(b"\1" * 32, b"\1" * 32, ceremony_pins()[11]),
            )
            for size, gas in model.verify_gas.items()
        ]
        checker = ZERO
        if model.input_ranges:
            code = creation_code(model.input_ranges)
            checker = self.chain.create(code, "InputRanges").address
        fields = (
            b"\1" * 32,
            int(model.codec),
            model.tag.limbs,
            model.tag.bits,
            InputKind.VALUES,
            _fields(model.input),
            _fields(model.output),
            checker,
            model.token,
            model.fee,
            model.receiver,
            model.receiver_bps,
            bytes(32),
            0,
            verifiers,
        )
        self.chain.send(model.publisher, self.registry, self.registry.calldata("register", fields))
        self.model.models[len(self.model.models) + 1] = model

    def _as(self, account: str, target: Deployed, data: bytes) -> None:
        if account in self.actors:
            actor = self.actors[account].deployed
            data = actor.calldata("perform", target.address, data)
            self.chain.send(self.people[0], actor, data)
        else:
            self.chain.send(account, target, data)

    # --- who

    def _origin(self, account: str) -> str:
        """The account that starts a transaction in which `account` acts."""
        return self.people[0] if account in self.actors else account

    def _person(self) -> str:
        return self.random.choice([*self.people, self.thief])

    def _someone(self) -> str:
        return self.random.choice([*self.people, *self.actors, *self.actors, self.thief])

    def _anyone(self) -> str:
        return self.random.choice([*self.accounts, self.oracle.address])

    def _node(self) -> str:
        return self.random.choice([*self.nodes, *self.nodes, self.thief])

    def _payee(self) -> str:
        return self.random.choice([*self.nodes, *self.nodes, *self.nodes, self._anyone()])

    # --- what

    def _rarely(self, odd: T, usual: T) -> T:
        return odd if self.random.random() < 0.03 else usual

    def _bytes(self) -> bytes:
        return self.random.randbytes(self.random.choice([0, 0, 5, 32, 100]))

    def _model_and_input(self, rows: int) -> tuple[int, bytes]:
        known = [*self.model.models]
        usable = [
            i for i, m in self.model.models.items() if i not in self.model.closed and m.size(rows)
        ] or known
        model_id = self._rarely(self.random.choice([*known, len(known) + 1]), None)
        # Nobody can answer the last kind; few ask it.
        likely = [i for i in usable if self.model.models[i].provable] or usable
        model_id = model_id or self._rarely(self.random.choice(usable), self.random.choice(likely))
        model = self.model.models.get(model_id) or self.model.models[1]
        spec, length = model.input, rows * model.input.length + self._rarely(1, 0)
        ranges = tensor.ranges_of(spec, model.input_ranges)
        numbers = [
            self.random.choice([low, high, 0, -1])
            if self.random.random() < 0.2
            else self.random.randint(low, high)
            for low, high in itertools.islice(itertools.cycle(ranges), length)
        ]
        if numbers and spec.width > 1:
            low, high = ranges[0]
            numbers[0] = self._rarely(high + 1, self._rarely(low - 1, numbers[0]))
        if model.codec is Codec.PACKED:
            return model_id, tensor.pack(numbers, spec.width) + self._rarely(b"\0", b"")
        separator = self.random.choice([", ", ",", "\n", " "])
        text = separator.join(f"{n / 2**spec.scale:.8f}" for n in numbers)
        return model_id, f"[{text}]".encode() + self._rarely(b"1e3", b"")

    def _callback(self, account: str) -> tuple[str, int]:
        gas = self.random.choice([1, STARVING, ENOUGH, ENOUGH, ENOUGH_TO_MEDDLE, FEAST])
        odd = (
            (account, 0),
            (ZERO, 1),
            (self._anyone(), ENOUGH),
            (account, 5_000_001),
        )
        usual = (account, gas) if account in self.actors else (ZERO, 0)
        return self._rarely(self.random.choice(odd), usual)

    def _value(self, model_id: int, rows: int, callback_gas: int, callback_data: bytes) -> int:
        model = self.model.models.get(model_id)
        if model is None or model.size(rows) is None:
            return 10**6
        units = self.model.gas_units(model_id, rows, callback_gas, len(callback_data))
        fee = model.fee * rows if model.token == ZERO else 0
        least = fee + self.model.base_fee * units
        enough = self.random.choice(
            [least, least + self.random.randrange(units), least + 20 * units]
        )
        return max(self._rarely(least - 1, enough), 0)

    def _sign(self, account: str, digest: bytes) -> bytes:
        if account in self.actors:
            return digest
        raw = bytearray(self.keys[account].sign_msg_hash(digest).to_bytes())
        raw[64] += 27
        return bytes(raw)

    def _some_item(self, *, prefer_expired: bool = False) -> Item | None:
        """A request as somebody may present it: usually open and unchanged."""
        pool = self._open if self._open and self.random.random() < 0.93 else self._ended[-200:]
        if prefer_expired and self.random.random() < 0.7:
            now, known = self.model.now, self.model.requests
            pool = [i for i in self._open if known[i].request.deadline < now] or pool
        if not pool:
            return None
        item = self.model.requests[self._about(self.random.choice(pool))].item
        return self._bent(item) if self.random.random() < 0.06 else item

    def _bent(self, item: Item) -> Item:
        """The same, with a lie in it."""
        request = item.request
        lies: list[Request] = [
            replace(request, refund_to=self.thief),
            replace(request, gas_money=request.gas_money + 1),
            replace(request, fee=request.fee + 1),
            replace(request, deadline=request.deadline + 86_400),
            replace(request, callback_contract=self.thief),
            replace(request, protocol_bps=request.protocol_bps ^ 1),
        ]
        match self.random.randrange(4):
            case 0:
                return replace(item, callback_data=item.callback_data + b"!")
            case 1:
                is_text = self.model.models[request.model_id].codec is Codec.TEXT
                last = item.input[-1:]
                other = b"\n" if is_text else bytes([last[0] ^ 1])
                return replace(item, input=item.input[:-1] + other)
            case 2:
                return replace(item, request_id=item.request_id ^ 1)
            case _:
                return replace(item, request=self.random.choice(lies))

    def _batch_items(self, count: int) -> list[Item]:
        if not self._open or not count:
            return []
        requests = self.model.requests
        leads = [
            i
            for i in self._open
            if requests[i].request.deadline >= self.model.now
            and requests[i].rows == 1
            and self.model.models[requests[i].request.model_id].size(count)
        ]
        lead = self.random.choice(leads or self._open)
        model_id = requests[lead].request.model_id
        same = [
            i
            for i in self._open
            if requests[i].request.model_id == model_id and requests[i].rows == 1
        ] or [lead]
        chosen = self.random.sample(same, min(count, len(same)))
        if self.random.random() < 0.2:
            ended = [i for i in self._ended[-200:] if requests[i].request.model_id == model_id]
            odd = [chosen[0], *ended[-3:], self.random.choice(self._open)]
            chosen.insert(self.random.randrange(len(chosen) + 1), self.random.choice(odd))
        self._about(chosen[0])
        if self.random.random() < 0.05:
            # The skipped cost the one that is left more gas than it was quoted for.
            heavy = [replace(requests[i].item, callback_data=BALLAST) for i in chosen[1:]]
            return [requests[chosen[0]].item, *heavy]
        return [
            self._bent(requests[i].item) if self.random.random() < 0.05 else requests[i].item
            for i in chosen
        ]

    def _outputs(self, model_id: int, rows: int) -> list[int]:
        """Field elements for all rows of the circuit; now and then unfit."""
        model = self.model.models[model_id]
        spec = model.output
        length = (model.size(rows) or rows) * spec.length + self._rarely(1, 0)
        values = [
            tensor.to_field(self.random.randint(spec.minimum, spec.maximum)) for _ in range(length)
        ]
        unfit = [tensor.R, tensor.R + 5, 2**256 - 1, tensor.to_field(spec.maximum + 1)]
        if self.random.random() < 0.04:
            values[self.random.randrange(length)] = self.random.choice(unfit)
        return values

    def _tampered(self, outputs: list[int]) -> list[int]:
        """Another output than the proved one, now and then."""
        return self._rarely([outputs[0] ^ 1, *outputs[1:]], outputs)

    def _proof(
        self, items: Sequence[Item], payee: str, outputs: Sequence[int], entry: Entry | None
    ) -> bytes:
        """An honest proof; or one of another statement, copied or made up."""
        model_id = (entry.request if entry else items[0].request).model_id
        model = self.model.models[model_id]
        ids = [item.request_id for item in items]
        try:
            rows = (
                self.model.rows(entry)
                if entry
                else [tensor.read(i.input, model.input, model.codec) for i in items]
            )
        except TensorError:
            return b"no statement"
        if model.size(len(rows)) is None:
            return b"no statement"
        how: dict[str, Any] = {}
        if self.random.random() < 0.1:
            match self.random.randrange(5):
                case 0:
                    payee = self.thief if payee != self.thief else self.nodes[0]
                case 1:
                    ids = [ids[0] ^ 1, *ids[1:]]
                case 2:
                    rows = [(rows[0][0] + 1, *rows[0][1:]), *rows[1:]]
                case 3:
                    how["chain_id"] = CHAIN_ID + 1
                case 4:
                    return self.random.randbytes(32)
        return self.model.proof(model_id, rows, ids, payee, outputs, **how)

    def _meddling(self, actor: Actor) -> tuple[str, int, bytes]:
        """What the actor will do when it gets control: target, value, call."""
        oracle = self.oracle
        if self.random.random() < 0.5:
            model_id, data = self._model_and_input(1)
            value = 4 * self._value(model_id, 1, 0, b"")
            actor.nested = Nested(model_id, data, value)
            call = oracle.calldata("requestCallback/5", model_id, data, ZERO, 0, b"")
            return oracle.address, value, call
        item = self._some_item()
        attacks = [(0, oracle.calldata("withdrawTo/1", actor.address))]
        if item is not None:
            request_id, fields = item.request_id, item.request.fields
            entry = self.model.requests.get(request_id)
            model_id = item.request.model_id
            outputs = self._outputs(model_id, entry.rows if entry else 1)
            proof = self._proof([item], actor.address, outputs, entry)
            fulfil = (
                request_id,
                fields,
                item.input,
                item.callback_data,
                actor.address,
                outputs,
                proof,
            )
            attacks += [
                (0, oracle.calldata("refund", request_id, fields)),
                (item.request.gas_money, oracle.calldata("topUp", request_id, fields)),
                (0, oracle.calldata("fulfill", *fulfil)),
            ]
        value, call = self.random.choice(attacks)
        return oracle.address, value, call

    # --- books

    def _about(self, request_id: int) -> int:
        self._subject = request_id
        return request_id

    def _opened(self, entry: Entry) -> None:
        self._open.append(entry.request_id)

    def _end(self, request_id: int) -> None:
        self._open.remove(request_id)
        self._ended.append(request_id)

    def _note(self, what: str) -> None:
        self._notes.append((self._subject, what))

    def _name(self, account: str) -> str:
        roles: dict[str, list[str]] = {
            "person": self.people,
            "node": self.nodes,
            "thief": [self.thief],
            "publisher": self.publishers,
            "owner": self.owners,
            "actor": [*self.actors],
        }
        return next(f"{role} {who.index(account)}" for role, who in roles.items() if account in who)


def _address(byte: int) -> str:
    return to_checksum_address("0x" + f"{byte:02x}" * 20)


def _fields(spec: TensorSpec) -> tuple[int, ...]:
    return (spec.length, spec.width, spec.scale, spec.minimum, spec.maximum)
