"""The text codec on chain: the twin of Python's, and models that speak it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import fees, tensor
from oracle.errors import TensorEncoding
from oracle.types import Codec, TensorSpec
from tests.contracts.evm import Chain, Contract, Reverted
from tests.contracts.world import (
    ALICE,
    FEE,
    GAS_MONEY,
    INPUT,
    NODE,
    OUTPUT,
    RESULT,
    THIEF,
    Ticket,
    World,
    ticket,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "codec.json").read_text())
WIDEST = tensor.R // 2


@lru_cache
def coder() -> Contract:
    return Chain().deploy("TextCoder")


def spec(length: int, scale: int) -> TensorSpec:
    return TensorSpec(length=length, width=32, scale=scale, minimum=-WIDEST, maximum=WIDEST)


def outcome(text: bytes, scale: int) -> tuple[int, ...] | str:
    """The contract's field elements of a text, or its error."""
    try:
        count = coder().read("check", text, scale, -(2**255), 2**255 - 1)
    except Reverted as reverted:
        return reverted.name
    fields: tuple[int, ...] = coder().read("toFields", text, scale)
    assert count == len(fields) == coder().read("countNumbers", text)
    return fields


def expected(text: bytes, scale: int) -> tuple[int, ...] | str:
    """The same by Python. The count is left open, as it is in the contract's codec."""
    try:
        numbers = tensor._numbers(text)
    except TensorEncoding:
        return "TextSyntax"
    integers = tensor.parse(text, spec(len(numbers), scale))
    return tuple(v % 2**256 if v >= 0 else (tensor.R + v) % 2**256 for v in integers)


numbers = st.from_regex(r"[+-]?[0-9]{1,40}(\.[0-9]{1,20})?", fullmatch=True)
separators = st.text(", []\n\r", min_size=1, max_size=3)
well_formed = st.lists(st.tuples(numbers, separators), max_size=6).map(
    lambda parts: "".join(a + b for a, b in parts).encode()
)
noise = st.text("0123456789+-., []\n\rex\t", max_size=24).map(str.encode)


@settings(deadline=None, max_examples=300)
@given(well_formed | noise, st.integers(0, 64))
def test_text__any_bytes__read_as_in_python(text: bytes, scale: int) -> None:
    assert outcome(text, scale) == expected(text, scale)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.integers(-WIDEST, WIDEST) | st.integers(-(10**6), 10**6) | st.sampled_from([0, -1, 1]),
        max_size=5,
    ),
    st.integers(0, 64),
)
def test_text__any_integers__are_written_as_in_python(integers: list[int], scale: int) -> None:
    fields = [tensor.to_field(v) for v in integers]
    written = coder().read("format", fields, scale, -WIDEST, WIDEST)
    assert written == tensor.write(integers, spec(len(integers), scale), Codec.TEXT)


@pytest.mark.parametrize("element", [tensor.R, 2**256 - 1])
def test_text__output_not_below_the_modulus__is_refused(element: int) -> None:
    with pytest.raises(Reverted, match="InvalidOutput"):
        coder().read("format", [element], 8, -WIDEST, WIDEST)


@pytest.mark.parametrize("case", VECTORS["text_inputs"], ids=lambda case: case["name"])
def test_vectors__text_inputs__hold_on_chain(case: dict[str, Any]) -> None:
    text = case["text"].encode()
    wanted = expected(text, case["scale"])
    assert outcome(text, case["scale"]) == wanted


@pytest.mark.parametrize("case", VECTORS["text_outputs"], ids=lambda case: case["name"])
def test_vectors__text_outputs__hold_on_chain(case: dict[str, Any]) -> None:
    integers = [int(v) for v in case["integers"]]
    fields = [tensor.to_field(v) for v in integers]
    assert coder().read("format", fields, case["scale"], -WIDEST, WIDEST) == case["text"].encode()


# --- models that speak text ---

PROMPT = b"[1.59375, -0.13671875, 0.0546875, 7.8125]"
INTEGERS = (408, -35, 14, 2000)
ANSWER = tensor.write(RESULT, OUTPUT, Codec.TEXT)


@pytest.fixture
def model(world: World) -> int:
    return world.register(codec=1, sizes=(1, 4))


def fulfil(world: World, asked: Ticket, integers: tuple[int, ...] = INTEGERS) -> Any:
    return world.fulfil(asked, proof=world.proof(asked, inputs=integers))


def test_text_model__prompt_of_numbers__is_answered_with_numbers(world: World, model: int) -> None:
    receipt = fulfil(world, world.request(model_id=model, data=PROMPT))
    assert receipt.event("AICallbackResult")["output"] == ANSWER


@pytest.mark.parametrize(
    ("data", "error", "values"),
    [
        (b"1,2,3", "InputLength", (3, 4)),
        (b"1,2,3,4,5", "InputLength", (5, 4)),
        (b"", "InputLength", (0, 4)),
        (b"1,2,3,1e3", "TextSyntax", (7,)),
        (b"1,2,3,", "InputLength", (3, 4)),
        (b"1,2,3,8", "TextRange", (3, 2048)),
        (b"-7.9,2,3,4", "TextRange", (0, -2022)),
        (b" " * 129, "TextTooLong", (129, 128)),
    ],
)
def test_text_model__bad_prompt__is_refused_at_the_door(
    world: World, model: int, data: bytes, error: str, values: tuple[int, ...]
) -> None:
    with pytest.raises(Reverted) as caught:
        world.request(model_id=model, data=data)
    assert caught.value.name == error
    assert caught.value.values == values


def test_text_model__batch__reads_and_writes_all_rows(world: World, model: int) -> None:
    arguments = (3, model, b"1 2 3 4 " * 3, "0x" + "00" * 20, 0, b"", 0, 0)
    value = 3 * FEE + GAS_MONEY
    receipt = world.oracle("requestBatchInference", *arguments, sender=ALICE, value=value)
    asked = ticket(receipt.events)
    rows = (256, 512, 768, 1024) * 4
    outputs = RESULT * 4
    proof = world.statement(rows, [asked.request_id], NODE, outputs)
    delivered = world.fulfil(asked, outputs=outputs, proof=proof).event("AICallbackResult")
    assert delivered["output"] == b",".join([ANSWER] * 3)


def test_text_model__gas_units__cover_the_longest_numbers(world: World, model: int) -> None:
    data = b",".join([b"+%030d" % 1] * 4)
    asked = world.request(model_id=model, data=data)
    used = fulfil(world, asked, (256,) * 4).gas_used
    assert used <= asked.gas_units - 500_000


@pytest.mark.parametrize(
    "number",
    [b"0.12345678,", b"-0.123456789012345678,".ljust(32), b"%031d," % 7, b"1".ljust(32)],
    ids=["short", "fraction", "zeros", "spaces"],
)
def test_text_model__quote__covers_a_hundred_numbers_however_written(
    world: World, number: bytes
) -> None:
    """With a hundred long outputs and a verifier that uses all its gas, at the gas limit that a
    node sets."""
    length = 100
    model = world.register(
        codec=1,
        verifier=world.chain.deploy("CostlyVerifier").address,
        input=(length, 32, 14, -(2**200), 2**200),
        output=(length, 32, 0, -WIDEST, WIDEST),
    )
    asked = world.request(model_id=model, data=number * length, value=10**15)
    arguments = (
        asked.request_id,
        asked.preimage,
        asked.input,
        asked.callback_data,
        NODE,
        [WIDEST] * length,
        b"\xff" * 3_000,
    )
    limit = fees.gas_limit(asked.gas_units, world.oracle.calldata("fulfill", *arguments))
    used = world.oracle("fulfill", *arguments, sender=NODE, gas=limit).gas_used
    assert used <= asked.gas_units


def test_prompt_caller__knowing_only_ora__chains_two_models(world: World, model: int) -> None:
    """Written to ORA's interface: a text of numbers, answers by request, and a second request from
    inside the callback."""
    follow_up = world.register(
        codec=1,
        input=(OUTPUT.length, INPUT.width, INPUT.scale, -(2**15), 2**15 - 1),
    )
    caller = world.deploy("PromptCaller")
    before = world.oracle.read("estimateFee", model, 1_000_000)
    assert caller.read("estimate", model, 0) == before == FEE
    both = caller.read("estimate", model, follow_up)
    with pytest.raises(Reverted, match="Underpaid"):
        caller("ask", model, follow_up, PROMPT.decode(), sender=ALICE, value=both - 1)
    asked = caller("ask", model, follow_up, PROMPT.decode(), sender=ALICE, value=both)
    first = ticket(asked.events)
    receipt = fulfil(world, first)
    assert receipt.event("RequestFulfilled")["callbackSucceeded"]
    assert caller.read("asks", first.request_id)[3] == ANSWER.decode()
    nested = ticket(receipt.events)
    assert (nested.input, nested.model_id) == (ANSWER, follow_up)
    assert caller.read("followUps", first.request_id) == nested.request_id
    integers = tensor.parse(ANSWER, TensorSpec(3, 2, INPUT.scale, -(2**15), 2**15 - 1))
    assert fulfil(world, nested, integers).event("RequestFulfilled")["callbackSucceeded"]
    assert caller.read("asks", nested.request_id)[3] == ANSWER.decode()


def test_prompt_caller__two_senders__each_pay_their_own_follow_up(world: World, model: int) -> None:
    """A thief's follow-up must not be paid with what another sent: the surplus would come back to
    the thief."""
    row = (OUTPUT.length, INPUT.width, INPUT.scale, -(2**15), 2**15 - 1)
    dear = world.register(codec=1, input=row, fee=10**9)
    free = world.register(codec=1, input=row, fee=0)
    caller = world.deploy("PromptCaller")

    def ask(sender: str, follow_up: int, value: int) -> Ticket:
        return ticket(
            caller("ask", model, follow_up, PROMPT.decode(), sender=sender, value=value).events
        )

    with pytest.raises(Reverted, match="Underpaid"):
        ask(THIEF, free, FEE - 1)
    victim = ask(ALICE, dear, caller.read("estimate", model, dear))
    left = world.chain.balance(caller.address)
    assert left == 10**9
    stolen = ticket(fulfil(world, ask(THIEF, free, FEE)).events)
    assert (stolen.fee, stolen.gas_money) == (0, 0)
    assert world.chain.balance(caller.address) == left
    nested = ticket(fulfil(world, victim).events)
    assert (nested.model_id, nested.fee) == (dear, left)
    assert world.chain.balance(caller.address) == 0


def test_prompt_caller__callback_from_a_stranger__is_refused(world: World) -> None:
    caller = world.deploy("PromptCaller")
    with pytest.raises(Reverted, match="UnauthorizedCallbackSource"):
        caller("aiOracleCallback", 1, b"", b"")
