"""The layouts a circuit may have: height, columns, and how it takes large numbers apart.

ezkl checks the range of a number by writing it in `Shape.legs` digits of `Shape.base`, each looked
up in a table of ``base`` rows. So base**legs bounds every number, legs cost rows, and the base
costs height. It defaults to 16384, which alone makes every circuit 2**15 rows high.

Rows follow from a model's graph, the rebase multiplier (above 1 it postpones the rescaling after
each product: fewer rows for larger numbers), and, exactly linearly, from the legs and from the
limbs of the tag; `Survey` asks ezkl at a few points and interpolates. Columns divide them.

The tag's limbs are numbers of the circuit too. Few wide ones take fewer rows; more narrow ones let
a small circuit do with two legs, which saves rows of every other number.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from oracle.circuits import cost, trial
from oracle.circuits.cost import BLINDING_ROWS, Structure, usable_rows
from oracle.circuits.trial import Graph
from oracle.errors import ModelUnsupported, ProverError, ProverMemory
from oracle.types import TagLayout

Json = dict[str, Any]
#: A multiplier, and whether matrix products are checked by Freivalds' algorithm.
Kind = tuple[int, bool]

MULTIPLIERS = (1, 2, 3, 4, 6, 8)
COLUMNS = (1, 2, 3, 4, 6, 8)
LEGS = range(2, 9)
#: Columns that the table of digits may take.
SPREADS = (1, 2, 3)
#: Table columns that an activation may take.
MAX_SPREAD = 4
#: Outputs fit a signed 64-bit integer.
MAX_BITS = 63
MAX_LOGROWS = 20
#: Where Freivalds' check of matrix products, which costs columns, may pay.
_FREIVALDS_ROWS = 1 << 13
#: Ways to cut a tag of 120 bits, the narrowest limbs last: forging one takes a second preimage.
TAG_LAYOUTS = (TagLayout(5, 24), TagLayout(6, 20), TagLayout(7, 18), TagLayout(8, 15))
#: How far above the least height the search goes for room; further where nothing else is left.
SPARE_LOGROWS = 3
TALL_LOGROWS = 6
#: Rows of several columns over their share of the rows of one: at most about this much, as measured.
_EMPTY_ROWS = 1.07
#: Legs that are asked for; the others lie on the line through them.
_ASKED_LEGS = (2, 4)
#: Scale of the survey: rows do not depend on it.
ANY_SCALE = 8
#: Entries that a table has at least beyond what was asked of it, on either side, and which part.
_LOOSE_ENTRIES, _LOOSE_PART = 4, 64
#: Share of a table's spare entries that is on either side at least.
_LEAST_SHARE = 0.125
#: Lookup tables while their real range is not known.
WIDE_LOOKUPS = (-(1 << 22), 1 << 22)


@dataclass(frozen=True, slots=True)
class Shape:
    """A layout: what ezkl is asked for, apart from scale and lookup range."""

    logrows: int
    columns: int
    multiplier: int
    legs: int
    base: int
    freivalds: bool = False
    tag: TagLayout = TAG_LAYOUTS[0]

    @property
    def kind(self) -> Kind:
        """What decides the rows in one column, beside the legs."""
        return self.multiplier, self.freivalds

    @property
    def bound(self) -> int:
        """Every number in the circuit is below this in absolute value."""
        return int(self.base**self.legs)

    def run_args(self, scale: int, lookups: tuple[int, int] = WIDE_LOOKUPS) -> Json:
        """What ezkl is asked for. Scale: fractional bits of inputs and weights."""
        return {
            "input_visibility": "public",
            "output_visibility": "public",
            # Fixed binds the weights in the verifying key; private would let a prover choose them.
            "param_visibility": "fixed",
            "input_scale": scale,
            "param_scale": scale,
            "scale_rebase_multiplier": self.multiplier,
            "decomp_base": self.base,
            "decomp_legs": self.legs,
            "logrows": self.logrows,
            "num_inner_cols": self.columns,
            "disable_freivalds": not self.freivalds,
            "lookup_range": list(lookups),
        }


def roomy(multiplier: int) -> Shape:
    """A shape that takes numbers up to 2**60; only its arithmetic matters."""
    return Shape(MAX_LOGROWS, 1, multiplier, 4, 1 << 15)


@dataclass(frozen=True, slots=True)
class Survey:
    """Rows of a model's circuits, in one column, by (multiplier, Freivalds)."""

    #: Rows with the first and the second of `_ASKED_LEGS`, and the first of `TAG_LAYOUTS`.
    rows: dict[Kind, tuple[int, int]]
    #: The settings that ezkl gave with the first.
    settings: dict[Kind, Json]

    def rows_of(self, kind: Kind, legs: int, tag: TagLayout = TAG_LAYOUTS[0]) -> int:
        """Rows in one column."""
        more = tag.limbs - TAG_LAYOUTS[0].limbs
        few, many = (
            rows + more * limb_rows(asked)
            for rows, asked in zip(self.rows[kind], _ASKED_LEGS, strict=True)
        )
        first, second = _ASKED_LEGS
        return few + (many - few) * (legs - first) // (second - first)

    def structure(self, shape: Shape) -> Structure:
        """Structure of a circuit of this shape, as long as its lookups need one table column."""
        settings = self.settings[shape.kind]
        digits = [0, settings["run_args"]["decomp_base"] - 1]
        checks = [
            [0, shape.base - 1] if check == digits else check
            for check in settings["required_range_checks"]
        ]
        found = cost.structure(
            settings
            | {
                "run_args": shape.run_args(ANY_SCALE, (0, 0)),
                "required_range_checks": checks,
            }
        )
        more = shape.tag.limbs - TAG_LAYOUTS[0].limbs
        return dataclasses.replace(found, instances=found.instances + more)


def survey(graph: Graph, multipliers: Sequence[int] = MULTIPLIERS) -> Survey:
    """Ask ezkl for the rows of a model.

    Raises:
        ModelUnsupported: ezkl cannot express the model, or this machine cannot hold it.
    """
    found = _ask(graph, [(multiplier, False) for multiplier in multipliers])
    if min(rows[0] for rows in found.rows.values()) > _FREIVALDS_ROWS:
        more = _ask(graph, [(multiplier, True) for multiplier in multipliers])
        found = Survey(found.rows | more.rows, found.settings | more.settings)
    return found


def shapes(
    found: Survey,
    bound: int = 0,
    spare: int = SPARE_LOGROWS,
    tags: Sequence[TagLayout] = TAG_LAYOUTS,
) -> Iterator[Shape]:
    """Every layout worth a look: of those of equal cost, the one that takes the largest numbers.

    Args:
        found: the rows.
        bound: numbers below this have to fit, and so have the tag's limbs.
        spare: how far above the least height.
        tags: ways to cut the tag. One of more limbs only where none of fewer fits.
    """
    for kind, columns, spread in itertools.product(found.rows, COLUMNS, SPREADS):
        known: set[tuple[int, int]] = set()
        for tag in tags:
            for shape in _heights(found, kind, columns, spread, tag, spare):
                # At this height a tag of fewer limbs does as well, or better.
                if shape.bound >= max(bound, 1 << tag.bits) and not (
                    any(shape.logrows == logrows and shape.bound <= most for logrows, most in known)
                ):
                    known.add((shape.logrows, shape.bound))
                    yield shape


def least_logrows(settings: Json) -> int:
    """The least height that holds the circuit's rows, constants and instances."""
    instances = sum(math.prod(shape) for shape in settings["model_instance_shapes"])
    rows = max(settings["num_rows"], settings["total_const_size"], instances)
    return _logrows(rows)


def limb_rows(legs: int) -> int:
    """Rows of one limb of the tag; the same in every circuit."""
    return 4 + 3 * legs


def filled(lookups: tuple[int, int], room: int) -> tuple[int, int]:
    """A wider range for the same columns of ``room`` entries: inputs nobody tried may ask for it."""
    low, high = lookups
    if low == high:
        # Nothing is looked up.
        return lookups
    spare = -(high - low + 1) % room
    # In proportion, and a part on either side: what cannot be above zero is, for its rounding.
    share = _LEAST_SHARE + (1 - 2 * _LEAST_SHARE) * -low / (high - low)
    below = round(spare * share)
    return low - below, high + spare - below


def loosened(lookups: tuple[int, int]) -> tuple[int, int]:
    """What may be looked up if rows that were tried ask for ``lookups``: a little more.

    Of negative squared distances, say, the greatest is zero, but for what its parts are rounded by.
    """
    low, high = lookups
    if low == high:
        # Nothing is looked up.
        return lookups
    more = max(_LOOSE_ENTRIES, (high - low) // _LOOSE_PART)
    return low - more, high + more


def refused(reason: str) -> ModelUnsupported:
    """The error for a model that ezkl does not take, for the reason it gave."""
    remedy = "Use core operators such as Gemm, MatMul, Add, Relu, or a smaller model"
    # tract's words for an operator it does not know.
    if match := re.search(r'node #\d+ "([^"]*)" Unimplemented\((\w+)\)', reason):
        return ModelUnsupported(
            f"operator {match[2]} (node '{match[1]}') cannot be proved", remedy=remedy
        )
    return ModelUnsupported(f"the circuit compiler refused the model: {reason}", remedy=remedy)


def _ask(graph: Graph, kinds: Sequence[Kind]) -> Survey:
    asked = [(kind, legs) for kind in kinds for legs in _ASKED_LEGS]
    run_args = [
        Shape(MAX_LOGROWS, 1, multiplier, legs, 1 << 15, freivalds).run_args(ANY_SCALE)
        for (multiplier, freivalds), legs in asked
    ]
    try:
        answers = trial.settings(graph, run_args)
    except ProverMemory as error:
        raise ModelUnsupported(
            f"the model is too large for this machine: {error.message}",
            remedy="Use a smaller model, or a machine with more memory",
        ) from None
    except ProverError as error:
        raise refused(error.message) from None
    rows: dict[Kind, tuple[int, int]] = {}
    settings = {}
    for kind, few, many in zip(kinds, answers[::2], answers[1::2], strict=True):
        if few["settings"] is None or many["settings"] is None:
            continue
        counts = few["settings"]["num_rows"], many["settings"]["num_rows"]
        # A greater multiplier that saves nothing only makes numbers larger.
        if counts not in rows.values():
            rows[kind] = counts
            settings[kind] = few["settings"]
    if not rows:
        raise refused(next(answer["reason"] for answer in answers))
    return Survey(rows, settings)


def _heights(
    found: Survey, kind: Kind, columns: int, spread: int, tag: TagLayout, spare: int
) -> Iterator[Shape]:
    seen = set()
    # Columns divide the rows and leave some empty; ezkl's own settings decide in the end.
    for slack in (1.0, _EMPTY_ROWS) if columns > 1 else (1.0,):
        rows = {legs: math.ceil(found.rows_of(kind, legs, tag) * slack / columns) for legs in LEGS}
        least = max(
            _logrows(min(rows.values())), least_logrows(found.settings[kind] | {"num_rows": 0})
        )
        for logrows in range(least, min(least + spare, MAX_LOGROWS) + 1):
            room = usable_rows(logrows)
            fitting = [
                Shape(
                    logrows,
                    columns,
                    kind[0],
                    legs,
                    min(spread * room, greatest_base(legs)),
                    kind[1],
                    tag,
                )
                for legs in LEGS
                if _logrows(rows[legs]) <= logrows
            ]
            widest = max(fitting, key=lambda shape: (shape.bound, -shape.legs))
            # A table of more columns has to be of use.
            useful = widest.base > (spread - 1) * room
            if useful and widest not in seen:
                seen.add(widest)
                yield widest


def greatest_base(legs: int) -> int:
    """The greatest base whose numbers of so many digits have `MAX_BITS` bits."""
    base = int((1 << MAX_BITS) ** (1 / legs))
    while base**legs > 1 << MAX_BITS:
        base -= 1
    return base


def _logrows(rows: int) -> int:
    return (rows + BLINDING_ROWS - 1).bit_length()
