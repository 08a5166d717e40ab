"""A small oracle with one model whose verifier is a stub, and makers for requests and proofs.

The stub `HashVerifier` accepts exactly ``keccak(instances)``. Proofs are made from the Python
codec and tag, never from the contract's answers, so that an accepted proof shows that both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from eth_utils import keccak, to_checksum_address

from oracle import tensor
from oracle.circuits.srs import ceremony_pins
from oracle.types import InputKind, ProofSystem, TagLayout, TensorSpec
from tests.contracts.evm import CHAIN_ID, Chain, Contract

INPUT = TensorSpec(length=4, width=2, scale=8, minimum=-2000, maximum=2000)
OUTPUT = TensorSpec(length=3, width=3, scale=14, minimum=-400_000, maximum=400_000)
TAG = TagLayout(limbs=5, bits=24)
FEE = 10_000
RECEIVER_BPS = 2_500
VERIFY_GAS = 500_000
#: Of a circuit of 2**11 rows; the chain is none on which a home-made one would do.
SRS_HASH = ceremony_pins()[11]
HALO2_KZG, GROTH16, STARK = ProofSystem
VALUES, COMMITMENT = InputKind
#: Ten wei a gas for a request without callback, and more than that fits.
GAS_MONEY = 10 * 2_000_000

NUMBERS = (51 * 8, -35, 14, 2000)
RESULT = (300_000, -1, -123_456)

ZERO = "0x" + "00" * 20
OWNER = to_checksum_address("0x" + "0f" * 20)
PUBLISHER = to_checksum_address("0x" + "b0" * 20)
RECEIVER = to_checksum_address("0x" + "b1" * 20)
ALICE = to_checksum_address("0x" + "a1" * 20)
BOB = to_checksum_address("0x" + "a2" * 20)
NODE = to_checksum_address("0x" + "c0" * 20)
THIEF = to_checksum_address("0x" + "ee" * 20)


@dataclass(frozen=True)
class Ticket:
    """An open request and all that is needed to end it."""

    request_id: int
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
    input: bytes
    callback_data: bytes

    @property
    def preimage(self) -> tuple[Any, ...]:
        return (
            self.account,
            self.model_id,
            self.callback_contract,
            self.callback_gas,
            self.refund_to,
            self.deadline,
            self.fee,
            self.gas_money,
            self.gas_units,
            self.protocol_bps,
            keccak(self.input),
            keccak(self.callback_data),
        )


@dataclass
class World:
    """Contracts and accounts."""

    chain: Chain
    registry: Contract
    oracle: Contract
    verifier: Contract
    model_id: int

    def circuit(self, **changes: Any) -> tuple[Any, ...]:
        """One of a registration's verifiers, with fields replaced by name."""
        fields: dict[str, Any] = {
            "verifier": self.verifier.address,
            "codeHash": None,
            "verifyGas": VERIFY_GAS,
            "size": 1,
            "system": HALO2_KZG,
            "artifactHash": b"\2" * 32,
            "vkHash": b"\3" * 32,
            "setupHash": SRS_HASH,
        }
        unknown = changes.keys() - fields.keys()
        assert not unknown, unknown
        fields |= changes
        if fields["codeHash"] is None:
            fields["codeHash"] = self.chain.code_hash(fields["verifier"])
        return tuple(fields.values())

    def model(self, sizes: Sequence[int] = (1,), **changes: Any) -> tuple[Any, ...]:
        """A valid registration, with fields replaced by name.

        Args:
            sizes: its batch sizes.
            changes: `verifier`, `verifyGas`, `codeHash`, `system` and `setupHash` hold for all of
                them.
        """
        circuit = {
            name: changes.pop(name)
            for name in ("verifier", "verifyGas", "codeHash", "system", "setupHash")
            if name in changes
        }
        fields: dict[str, Any] = {
            "onnxHash": b"\1" * 32,
            "codec": 0,
            "tagLimbs": TAG.limbs,
            "tagBits": TAG.bits,
            "inputKind": VALUES,
            "input": tensor_tuple(INPUT),
            "output": tensor_tuple(OUTPUT),
            "inputChecker": ZERO,
            "token": ZERO,
            "fee": FEE,
            "receiver": RECEIVER,
            "receiverBps": RECEIVER_BPS,
            "transcriptHash": bytes(32),
            "contributors": 0,
            "verifiers": [self.circuit(size=size, **circuit) for size in sizes],
        }
        unknown = changes.keys() - fields.keys()
        assert not unknown, unknown
        fields |= changes
        return tuple(fields.values())

    def register(self, **changes: Any) -> int:
        receipt = self.registry("register", self.model(**changes), sender=PUBLISHER)
        return int(receipt.value)

    def request(
        self,
        sender: str = ALICE,
        *,
        model_id: int | None = None,
        data: bytes | None = None,
        value: int = FEE + GAS_MONEY,
        callback_contract: str = ZERO,
        callback_gas: int = 0,
        callback_data: bytes = b"",
        refund_to: str | None = None,
        lifetime: int = 3600,
    ) -> Ticket:
        """Open a request through the native call, straight from an account."""
        receipt = self.oracle(
            "request",
            self.model_id if model_id is None else model_id,
            packed() if data is None else data,
            callback_contract,
            callback_gas,
            callback_data,
            sender if refund_to is None else refund_to,
            self.chain.now + lifetime,
            sender=sender,
            value=value,
        )
        return ticket(receipt.events)

    def ask(
        self,
        consumer: Contract,
        *,
        gas: int = 200_000,
        data: bytes = b"",
        value: int = FEE + GAS_MONEY,
        sender: str = ALICE,
    ) -> Ticket:
        """Open a request through a consumer contract's ``ask`` (ORA's 5-argument call)."""
        receipt = consumer("ask", self.model_id, packed(), gas, data, sender=sender, value=value)
        return ticket(receipt.events)

    def proof(
        self,
        ticket: Ticket,
        *,
        payee: str = NODE,
        outputs: Sequence[int] = RESULT,
        chain_id: int = CHAIN_ID,
        oracle: str | None = None,
        request_id: int | None = None,
        inputs: Sequence[int] | None = None,
    ) -> bytes:
        """What `HashVerifier` accepts for this statement."""
        return self.statement(
            tensor.unpack(ticket.input, INPUT) if inputs is None else inputs,
            [ticket.request_id if request_id is None else request_id],
            payee,
            outputs,
            chain_id=chain_id,
            oracle=oracle,
        )

    def statement(
        self,
        numbers: Sequence[int],
        request_ids: Sequence[int],
        payee: str,
        outputs: Sequence[int],
        *,
        chain_id: int = CHAIN_ID,
        oracle: str | None = None,
    ) -> bytes:
        """What `HashVerifier` accepts for these inputs, requests, payee and outputs."""
        where = self.oracle.address if oracle is None else oracle
        limbs = tensor.tag(chain_id, where, request_ids, payee, TAG)
        instances = [
            *map(tensor.to_field, numbers),
            *limbs,
            *map(tensor.to_field, outputs),
        ]
        return keccak(b"".join(i.to_bytes(32, "big") for i in instances))

    def fulfil_arguments(
        self,
        ticket: Ticket,
        *,
        payee: str = NODE,
        outputs: Sequence[int] = RESULT,
        proof: bytes | None = None,
    ) -> tuple[Any, ...]:
        return (
            ticket.request_id,
            ticket.preimage,
            ticket.input,
            ticket.callback_data,
            payee,
            [tensor.to_field(v) for v in outputs],
            self.proof(ticket, payee=payee, outputs=outputs) if proof is None else proof,
        )

    def fulfil(
        self, ticket: Ticket, *, sender: str = NODE, gas: int = 16_000_000, **how: Any
    ) -> Any:
        return self.oracle("fulfill", *self.fulfil_arguments(ticket, **how), sender=sender, gas=gas)

    def batch_arguments(
        self,
        tickets: Sequence[Ticket],
        *,
        size: int,
        payee: str = NODE,
        outputs: Sequence[int] | None = None,
        proof: bytes | None = None,
    ) -> tuple[Any, ...]:
        """Arguments of ``fulfillBatch`` for a circuit of `size` rows; each row's output is `RESULT`
        unless all rows' outputs are given."""
        rows = [tensor.unpack(ticket.input, INPUT) for ticket in tickets]
        numbers = tensor.pad(rows, size)
        values = RESULT * size if outputs is None else outputs
        if proof is None:
            ids = [ticket.request_id for ticket in tickets]
            proof = self.statement(numbers, ids, payee, values)
        items = [(t.request_id, t.preimage, t.input, t.callback_data) for t in tickets]
        return (items, payee, [tensor.to_field(v) for v in values], proof)

    def fulfil_batch(
        self, tickets: Sequence[Ticket], *, sender: str = NODE, gas: int = 16_000_000, **how: Any
    ) -> Any:
        arguments = self.batch_arguments(tickets, **how)
        return self.oracle("fulfillBatch", *arguments, sender=sender, gas=gas)

    def refund(self, ticket: Ticket, sender: str = THIEF) -> Any:
        return self.oracle("refund", ticket.request_id, ticket.preimage, sender=sender)

    def credit(self, account: str, token: str = ZERO) -> int:
        return int(self.oracle.read("creditOf", token, account))

    def status(self, ticket: Ticket) -> int:
        return int(self.oracle.read("status", ticket.request_id))

    def deploy(self, name: str, *arguments: Any, **how: Any) -> Contract:
        """A consumer of this oracle."""
        return self.chain.deploy(name, self.oracle.address, *arguments, **how)


UNKNOWN, OPEN, FULFILLED, REFUNDED = range(4)


def make_world(chain_id: int = CHAIN_ID) -> World:
    """The world; its proofs are for `CHAIN_ID` unless told otherwise."""
    chain = Chain(chain_id)
    for account in (OWNER, PUBLISHER, RECEIVER, ALICE, BOB, NODE, THIEF):
        chain.fund(account)
    registry = chain.deploy("ModelRegistry")
    world = World(
        chain=chain,
        registry=registry,
        oracle=chain.deploy("InferenceOracle", registry.address, OWNER),
        verifier=chain.deploy("HashVerifier"),
        model_id=0,
    )
    return replace(world, model_id=world.register())


def packed(numbers: Sequence[int] = NUMBERS) -> bytes:
    return tensor.pack(numbers, INPUT.width)


def tensor_tuple(spec: TensorSpec) -> tuple[int, ...]:
    return (spec.length, spec.width, spec.scale, spec.minimum, spec.maximum)


def ticket(events: Sequence[Any]) -> Ticket:
    """The request that these events announce, rebuilt as a node would."""
    (asked,) = [e.values for e in events if e.name == "AICallbackRequest"]
    (opened,) = [e.values for e in events if e.name == "RequestOpened"]
    assert asked["requestId"] == opened["requestId"]
    return Ticket(
        request_id=asked["requestId"],
        account=to_checksum_address(asked["account"]),
        model_id=asked["modelId"],
        callback_contract=to_checksum_address(asked["callbackContract"]),
        callback_gas=asked["gasLimit"],
        refund_to=to_checksum_address(opened["refundTo"]),
        deadline=opened["deadline"],
        fee=opened["fee"],
        gas_money=opened["gasMoney"],
        gas_units=opened["gasUnits"],
        protocol_bps=opened["protocolBps"],
        input=asked["input"],
        callback_data=asked["callbackData"],
    )
