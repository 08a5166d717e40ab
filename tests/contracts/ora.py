"""The adapter with ORA's whole face, beside a small oracle; and what its events and requests are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_utils import keccak, to_checksum_address

from oracle import tensor
from oracle.types import Codec
from tests.contracts.evm import Contract, Event, Receipt
from tests.contracts.world import (
    ALICE,
    FEE,
    GAS_MONEY,
    OUTPUT,
    OWNER,
    RESULT,
    Ticket,
    World,
    make_world,
    packed,
    ticket,
)

#: A prompt of numbers, what the model reads in it, and its answer.
PROMPT = b"[1.59375, -0.13671875, 0.0546875, 7.8125]"
INTEGERS = (408, -35, 14, 2000)
ANSWER = tensor.write(RESULT, OUTPUT, Codec.TEXT)
PACKED_ANSWER = tensor.pack(RESULT, OUTPUT.width)

#: What consumers of ORA have in their code: the ids of models that talk and that draw.
LLAMA, DIFFUSION = 11, 50
NAME = "openai/gpt-4o"
#: As ORA's newer consumers make an id of a name.
HASHED = int.from_bytes(keccak(text=NAME)[12:], "big")

UNKNOWN, OPEN, ANSWERED, REFUSED, TOLD = range(5)
INVALID_INPUT, INVALID_BATCH_SIZE = 0, 1
VALUE = FEE + GAS_MONEY


@dataclass
class Ora:
    """The world and the adapter in it. Its models: `LLAMA` and `HASHED` read texts, up to four rows,
    `DIFFUSION` packed numbers."""

    world: World
    adapter: Contract

    @property
    def address(self) -> str:
        return self.adapter.address

    def deploy(self, name: str, *arguments: Any, **how: Any) -> Contract:
        """A consumer that takes the adapter for ORA's oracle."""
        return self.world.chain.deploy(name, self.address, *arguments, **how)

    def scripted(self, wei: int = 0) -> Contract:
        """A consumer that does what it is told, with its own money."""
        made = self.world.chain.deploy("ScriptedConsumer")
        self.world.chain.fund(made.address, wei)
        return made

    def ask(
        self,
        consumer: Contract,
        *,
        model: int = DIFFUSION,
        data: bytes | None = None,
        gas: int = 300_000,
        context: bytes = b"",
        value: int = VALUE,
        sender: str = ALICE,
    ) -> Receipt:
        """Ask through a `ScriptedConsumer`."""
        return consumer(
            "ask",
            self.address,
            model,
            packed() if data is None else data,
            gas,
            context,
            sender=sender,
            value=value,
        )

    def call(
        self,
        *,
        model: int = DIFFUSION,
        data: bytes | None = None,
        target: str,
        gas: int = 200_000,
        context: bytes = b"",
    ) -> bytes:
        """Calldata of a request, for consumers that are told what to call."""
        chosen = packed() if data is None else data
        return self.adapter.calldata("requestCallback", model, chosen, target, gas, context)

    def ticket(self, receipt: Receipt, index: int = 0) -> Ticket:
        """What the adapter asked of the oracle in a transaction."""
        mine = [
            event
            for event in receipt.events
            if event.name == "AICallbackRequest" and self._is(event.values["account"])
        ]
        opened = [event for event in receipt.events if event.name == "RequestOpened"]
        return ticket((mine[index], opened[index]))

    def answer(self, asked: Ticket, **how: Any) -> Receipt:
        """Fulfil at the oracle, whatever codec the model has."""
        if asked.input.startswith(b"["):
            outputs = how.get("outputs", RESULT)
            how.setdefault("proof", self.world.proof(asked, inputs=INTEGERS, outputs=outputs))
        done = self.world.fulfil(asked, **how)
        assert isinstance(done, Receipt)
        return done

    def asked(self, receipt: Receipt) -> dict[str, Any]:
        """The adapter's own announcement of a request."""
        return self._own(receipt, "AICallbackRequest")

    def result(self, receipt: Receipt) -> dict[str, Any]:
        """The adapter's own announcement of a result."""
        return self._own(receipt, "AICallbackResult")

    def results(self, receipt: Receipt) -> list[Event]:
        """The same, however many."""
        return self._all(receipt, "AICallbackResult")

    def retry(self, asked: Ticket, output: bytes, gas: int | None = None) -> Receipt:
        """`retryCallback` of the oracle, by a stranger."""
        return self.world.oracle(
            "retryCallback",
            asked.request_id,
            self.address,
            asked.callback_gas,
            asked.refund_to,
            asked.callback_gas if gas is None else gas,
            output,
            asked.callback_data,
        )

    def refused(self, receipt: Receipt) -> tuple[Any, ...]:
        """What `deliverError` takes of a refused request, but for the gas."""
        event = receipt.event("RequestRefused")
        return (event["requestId"], event["refundTo"], event["code"], event["message"])

    def tell(self, refused: tuple[Any, ...], gas: int = 300_000, **how: Any) -> Receipt:
        """Deliver an error."""
        request_id, refund_to, code, message = refused
        return self.adapter("deliverError", request_id, refund_to, code, gas, message, **how)

    def state(self, request_id: int) -> int:
        return int(self.adapter.read("stateOf", request_id))

    def _own(self, receipt: Receipt, name: str) -> dict[str, Any]:
        (found,) = self._all(receipt, name)
        return found.values

    def _all(self, receipt: Receipt, name: str) -> list[Event]:
        return [
            event
            for event in receipt.events
            if event.name == name and not self._is(event.values["account"])
        ]

    def _is(self, address: str) -> bool:
        return to_checksum_address(address) == self.address


def make_ora() -> Ora:
    world = make_world()
    adapter = world.chain.deploy("OraAdapter", world.oracle.address, OWNER)
    text = world.register(codec=1, sizes=(1, 4))
    for chosen, model in ((LLAMA, text), (HASHED, text), (DIFFUSION, world.model_id)):
        adapter("setModel", chosen, model, sender=OWNER)
    return Ora(world, adapter)
