"""Which labels a bundle's answers say, and what people call them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits.bundle import Origin
from oracle.circuits.reveal import Kind, Reveal
from oracle.errors import UsageError

_INTEGER = re.compile(r"(-?[0-9]+)(?:\.0*)?")
#: As numpy and pandas write the classes of a yes and a no.
_TRUTH = {"True": "1", "False": "0"}
#: Labels and classes that a message names.
_NAMED = 12


@dataclass(frozen=True, slots=True)
class Classes:
    """The labels that answers can say."""

    #: By index, as far as the file names them.
    names: tuple[str, ...]
    #: How many there are; None where an answer is a whole number of any size.
    count: int | None

    @classmethod
    def of(cls, origin: Origin) -> Classes | None:
        """Those of a bundle; None where its answers are neither labels nor scores of any."""
        kind, outputs = Reveal.parse(origin.reveal).kind, origin.outputs
        length = sum(info.length for info in outputs)
        if kind in (Kind.TOP1, Kind.TOPK):
            return cls(origin.labels, length)
        if len(outputs) != 1 or kind is Kind.ROUND:
            return None
        if kind is Kind.THRESHOLD:
            return cls(origin.labels, 2) if length == 1 else None
        if not outputs[0].is_float:
            return cls(origin.labels, None)
        return None if length == 1 else cls(origin.labels, length)

    @property
    def all(self) -> tuple[str, ...]:
        """The labels, by index; where there are any whole numbers, those with a name."""
        return self.names if self.count is None else tuple(map(self.name, range(self.count)))

    def name(self, index: int) -> str:
        """What a class is called: by its index where it has no name."""
        return self.names[index] if 0 <= index < len(self.names) else str(index)

    def matched(self, labels: Sequence[str]) -> tuple[list[str], bool]:
        """Labels that people gave, as answers say them; whether they were taken for indices.

        Raises:
            UsageError: they are neither the classes nor their indices.
        """
        known = frozenset(self.all)
        found = [label if label in known else _plain(label) for label in labels]
        unknown = [label for label in found if label not in known]
        if self.count is None:
            unknown = [label for label in unknown if not _INTEGER.fullmatch(label)]
        if not unknown:
            return found, False
        # Between classes that are numbers, an index says another class.
        are_words = bool(self.names) and not any(map(_INTEGER.fullmatch, self.names))
        indices = {str(index): name for index, name in enumerate(self.all)}
        if are_words and all(label in indices for label in found):
            return [indices[label] for label in found], True
        kinds = _listed(list(dict.fromkeys(unknown)))
        raise UsageError(
            f"these labels are not the bundle's classes: {kinds}; its classes are "
            f"{_listed(self.all) or 'whole numbers'}",
            remedy="Give for each row one of its classes"
            + (", or for all rows their indices from 0" if are_words else ""),
        )


def spoken(origin: Origin, answers: npt.NDArray[Any]) -> list[str] | None:
    """The label that each answer says, [n, numbers of an answer]; None where answers say none."""
    classes = Classes.of(origin)
    if classes is None or not len(answers):
        return None
    is_scores = Reveal.parse(origin.reveal).kind is Kind.FULL and origin.outputs[0].is_float
    chosen = answers.argmax(axis=1) if is_scores else answers[:, 0]
    return [classes.name(round(value)) for value in np.asarray(chosen).tolist()]


def _plain(label: str) -> str:
    """Whole numbers as answers say them, whatever wrote them."""
    match = _INTEGER.fullmatch(label)
    return str(int(match[1])) if match else _TRUTH.get(label, label)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
