"""Answers on the page: decoded as the contract's caller decodes them, with the model's own words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from oracle import tensor
from oracle.page import ModelCard
from oracle.page.answer import Answer, AnswerRow, answer_of, short_answer
from oracle.page.query import read_page
from oracle.store.records import Sighting
from oracle.store.states import RequestState
from oracle.types import Codec, TensorSpec
from tests.node.world import World
from tests.ops.busy import add, prove
from tests.ops.test_page import EVIL, card, page

IRIS = ("setosa", "versicolor", "virginica")
_R = RequestState


def model(world: World, length: int, *, scale: int = 8, **changes: Any) -> ModelCard:
    """A model with so many outputs."""
    output = dataclasses.replace(card(world).output, length=length, scale=scale)
    return card(world, output=output, **changes)


def answered(world: World, asked: ModelCard, outputs: tuple[int, ...], **options: Any) -> Answer:
    """What the page has of a request that was answered so."""
    add(world, 7, _R.FINAL, outputs, **options)
    (seen,) = world.store.pages.sightings(["0x7"])
    answer = answer_of(seen, asked)
    assert answer is not None
    assert answer.short == short_answer(seen, asked)
    return answer


def only(answer: Answer) -> AnswerRow:
    (row,) = answer.rows
    assert answer.short == row.short
    return row


def names(row: AnswerRow) -> list[tuple[int, str | None]]:
    return [(pick.index, pick.name) for pick in row.picks]


def test_answer__top1__is_the_class_by_name(world: World) -> None:
    """Contract developers, live page (2): the answer itself is shown."""
    row = only(answered(world, model(world, 1, scale=0, reveal="top1", labels=IRIS), (2,)))
    assert (row.short, names(row), row.values) == ("virginica", [(2, "virginica")], (2.0,))


def test_answer__topk__names_classes_in_order(world: World) -> None:
    asked = model(world, 4, scale=0, reveal="topk:4", labels=(*IRIS, "none", "other"))
    row = only(answered(world, asked, (4, 0, 2, 1)))
    assert row.short == "other, setosa, virginica +1"
    assert names(row) == [(4, "other"), (0, "setosa"), (2, "virginica"), (1, "versicolor")]


def test_answer__class_without_a_name__is_its_number(world: World) -> None:
    asked = model(world, 2, scale=0, reveal="topk:2", labels=("only",))
    assert only(answered(world, asked, (3, 0))).short == "class 3, only"


@pytest.mark.parametrize(
    ("bits", "short"),
    [((1, 0, 1), "setosa, virginica"), ((0, 0, 0), "none of 3"), ((0, 1, 0), "versicolor")],
)
def test_answer__threshold__names_what_is_set(
    world: World, bits: tuple[int, ...], short: str
) -> None:
    row = only(answered(world, model(world, 3, scale=0, reveal="threshold:0.5", labels=IRIS), bits))
    assert row.short == short
    assert [pick.index for pick in row.picks] == [i for i, bit in enumerate(bits) if bit]


@pytest.mark.parametrize(("bit", "short"), [(1, "reached"), (0, "not reached")])
def test_answer__threshold_of_one_score__is_reached_or_not(
    world: World, bit: int, short: str
) -> None:
    asked = model(world, 1, scale=0, reveal="threshold:0.5", labels=("no", "yes"))
    assert only(answered(world, asked, (bit,))).short == short


def test_answer__full_with_names__is_the_greatest_few_and_the_whole(world: World) -> None:
    row = only(answered(world, model(world, 3, reveal="full", labels=IRIS), (128, 640, -256)))
    assert row.short == "versicolor 2.50, setosa 0.500"
    assert names(row) == [(1, "versicolor"), (0, "setosa"), (2, "virginica")]
    assert [pick.score for pick in row.picks] == [2.5, 0.5, -1.0]
    assert row.values == (0.5, 2.5, -1.0)


def test_answer__full_without_names__is_numbers_in_their_order(world: World) -> None:
    row = only(answered(world, model(world, 6, reveal="full"), (256, 512, -768, 0, 1, 2)))
    assert (row.short, row.picks) == ("1.00, 2.00, -3.00, 0 +2", ())
    assert len(row.values) == 6


def test_answer__round__is_scores_again(world: World) -> None:
    asked = model(world, 3, scale=0, reveal="round:2", labels=IRIS)
    row = only(answered(world, asked, (7, 250, 93)))
    assert row.short == "versicolor 2.50, virginica 0.930"
    assert row.values == (7.0, 250.0, 93.0), "as the callback gets them"


def test_answer__several_rows_of_one_request__are_all_there(world: World) -> None:
    asked = model(world, 1, scale=0, reveal="top1", labels=IRIS)
    # A circuit of four rows, of which the request fills three.
    answer = answered(world, asked, (0, 1, 2, 0), rows=3)
    assert answer.short == "setosa +2 rows"
    assert [row.short for row in answer.rows] == list(IRIS)
    assert answer.output == "0x" + tensor.pack((0, 1, 2), asked.output.width).hex()


def test_answer__several_requests_in_one_proof__each_has_its_own(world: World) -> None:
    for request_id in (11, 12, 13):
        add(world, request_id, _R.ACCEPTED)
    prove(world, (12, 11, 13), _R.FINAL, (2, 1, 0, 0), size=4)
    asked = model(world, 1, scale=0, reveal="top1", labels=IRIS)
    live = page(world, asked)
    lines = live.requests.page(read_page({}), 0.0).requests
    assert {int(line.id, 16): line.answer for line in lines} == {
        12: "virginica", 11: "versicolor", 13: "setosa",
    }  # fmt: skip


def test_answer__text_codec__is_what_the_text_says(world: World) -> None:
    output = TensorSpec(length=2, width=8, scale=3, minimum=-(2**31), maximum=2**31)
    asked = card(world, output=output, codec=Codec.TEXT, reveal="full")
    seen = sighting(asked, (12, -4))
    answer = answer_of(seen, asked)
    assert answer is not None
    assert bytes.fromhex(answer.output[2:]) == b"1.500000,-0.500000"
    assert answer.rows[0].values == (1.5, -0.5)


def sighting(asked: ModelCard, outputs: tuple[int, ...] | None, **changes: Any) -> Sighting:
    one = tensor.write([0] * asked.input.length, asked.input, asked.codec)
    values: dict[str, Any] = {
        "request_id": 7, "model_id": 1, "state": _R.FINAL, "reason": "", "place": (1, 0),
        "input": one, "seen_at": 0.0, "updated_at": 0.0, "prove_seconds": 1.0, "rows": 1,
        "gas": 1, "transaction": None, "outputs": outputs, "row": None,
    }  # fmt: skip
    return Sighting(**(values | changes))


@pytest.mark.parametrize("state", [each for each in _R if each not in (_R.MINED, _R.FINAL)])
def test_answer__not_delivered__is_none(world: World, state: RequestState) -> None:
    asked = model(world, 1)
    assert answer_of(sighting(asked, (1,), state=state), asked) is None


@pytest.mark.parametrize("outputs", [(), (1,), (2**4000, 1, 1)])
def test_answer__store_holds_nonsense__is_said_and_nothing_crashes(
    world: World, outputs: tuple[int, ...]
) -> None:
    add(world, 7, _R.FINAL, outputs)
    live = page(world, model(world, 3))
    (line,) = live.requests.page(read_page({}), 0.0).requests
    assert line.answer is not None
    assert line.answer.startswith("not readable (TENSOR")
    details = live.requests.details(7, 0.0)
    assert details.answer is None
    assert details.unread


@pytest.mark.parametrize("text", ["", "{", "7", '["a"]', "[null]", '["' + "9" * 5000 + '"]'])
def test_answer__store_holds_no_numbers__is_said_and_nothing_crashes(
    world: World, text: str
) -> None:
    add(world, 7, _R.FINAL)
    world.store._db._connection().execute("UPDATE jobs SET outputs = ?", (text,))
    (line,) = page(world).requests.page(read_page({}), 0.0).requests
    assert line.answer == "not readable (TENSOR_LENGTH)"


def test_answer__model_is_not_served__says_so(world: World) -> None:
    add(world, 7, _R.FINAL, model_id=77)
    live = page(world)
    assert live.requests.page(read_page({}), 0.0).requests[0].answer is None
    assert "does not serve" in live.requests.details(7, 0.0).unread


@pytest.mark.parametrize(
    "reveal", ["top1", "topk:x", "threshold:", "round:٣", "round:99", EVIL, ""]
)
def test_answer__manifest_lies_about_its_policy__is_numbers(world: World, reveal: str) -> None:
    """A bundle's words are the publisher's: no hash holds them to the circuit."""
    row = only(answered(world, model(world, 2, reveal=reveal, labels=(EVIL,)), (-640, 128)))
    assert row.short == "-2.50, 0.500"


def test_answer__long_name__is_cut_where_it_is_short_only(world: World) -> None:
    asked = model(world, 1, scale=0, reveal="top1", labels=("a" * 300,))
    row = only(answered(world, asked, (0,)))
    assert len(row.short) == 41
    assert row.picks[0].name == "a" * 300
