"""What a model answered, in its own words where it has some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oracle import tensor
from oracle.errors import OracleError
from oracle.page.card import ModelCard
from oracle.page.texts import hexed, number, shown
from oracle.store.records import Sighting
from oracle.store.states import RequestState

#: Names in the short form, numbers without names there, and characters of a name.
_NAMES = 3
_NUMBERS = 4
_CHARACTERS = 40
#: Greatest scores that are named.
_GREATEST = 2


@dataclass(frozen=True, slots=True)
class Pick:
    """A class that an answer names."""

    index: int
    #: The model's word for it; None if its file has none.
    name: str | None
    #: Its score, where scores are published.
    score: float | None


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """The answer to a row of the input."""

    #: As short as it says something.
    short: str
    #: The classes revealed, those whose bit is set, or all with their scores, the greatest first.
    picks: tuple[Pick, ...]
    #: The numbers that the callback gets.
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    short: str
    rows: tuple[AnswerRow, ...]
    #: The bytes that the callback gets.
    output: str


def answer_of(seen: Sighting, card: ModelCard | None) -> Answer | None:
    """What was delivered for a request; None before that, and where the model is not served.

    Raises:
        TensorError: the store holds numbers that the model cannot have answered.
    """
    if card is None or seen.outputs is None:
        return None
    if seen.state not in (RequestState.MINED, RequestState.FINAL):
        return None
    length = card.output.length
    if seen.row is not None:
        first, count = seen.row, 1
    else:
        first, count = 0, len(tensor.rows(seen.input, card.input, card.codec))
    numbers = [seen.outputs[i * length : (i + 1) * length] for i in range(first, first + count)]
    # As the contract writes it and its caller reads it.
    data = [tensor.write(row, card.output, card.codec) for row in numbers]
    rows = tuple(_row(tensor.decode(each, card.output, card.codec), card) for each in data)
    more = f" +{len(rows) - 1} rows" if len(rows) > 1 else ""
    whole = tensor.write([each for row in numbers for each in row], card.output, card.codec)
    return Answer(rows[0].short + more, rows, hexed(whole))


def short_answer(seen: Sighting, card: ModelCard | None) -> str | None:
    """The same in a few words, whatever the store holds."""
    try:
        answer = answer_of(seen, card)
    except OracleError as error:
        return shown(f"not readable ({error.code})")
    return None if answer is None else answer.short


def _row(values: tuple[float, ...], card: ModelCard) -> AnswerRow:
    policy, _, parameter = card.reveal.partition(":")
    labels = card.labels
    if policy in ("top1", "topk") and all(_is_index(value) for value in values):
        picks = tuple(_pick(int(value), labels) for value in values)
        return AnswerRow(_listed([_called(pick) for pick in picks]), picks, values)
    if policy == "threshold" and all(value in (0, 1) for value in values):
        return _bits(values, labels)
    unit = 10 ** int(parameter) if policy == "round" and parameter in set("0123456789") else 1
    return _scores(values, tuple(value / unit for value in values), labels)


def _bits(values: tuple[float, ...], labels: Sequence[str]) -> AnswerRow:
    names = labels if len(labels) == len(values) else ()
    picks = tuple(_pick(index, names) for index, bit in enumerate(values) if bit)
    if len(values) == 1:
        return AnswerRow("reached" if picks else "not reached", picks, values)
    short = _listed([_called(pick) for pick in picks]) if picks else f"none of {len(values)}"
    return AnswerRow(short, picks, values)


def _scores(
    values: tuple[float, ...], scores: tuple[float, ...], labels: Sequence[str]
) -> AnswerRow:
    if not labels or len(labels) != len(scores):
        return AnswerRow(_listed([number(score) for score in scores], _NUMBERS), (), values)
    ranked = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    picks = tuple(Pick(index, labels[index], scores[index]) for index in ranked)
    named = [f"{_called(pick)} {number(scores[pick.index])}" for pick in picks]
    return AnswerRow(", ".join(named[:_GREATEST]), picks, values)


def _is_index(value: float) -> bool:
    return value >= 0 and value.is_integer()


def _pick(index: int, labels: Sequence[str]) -> Pick:
    return Pick(index, labels[index] if index < len(labels) else None, None)


def _called(pick: Pick) -> str:
    if pick.name is None:
        return f"class {pick.index}"
    cut = "…" if len(pick.name) > _CHARACTERS else ""
    return pick.name[:_CHARACTERS] + cut


def _listed(words: Sequence[str], most: int = _NAMES) -> str:
    more = f" +{len(words) - most}" if len(words) > most else ""
    return ", ".join(words[:most]) + more
