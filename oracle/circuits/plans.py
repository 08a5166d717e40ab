"""Search for a plan: an arithmetic with which a model fits a lower circuit.

For each height, from the least on, and each number of digits, the room is known: rows, the bound on
numbers, the entries of a table. The plan of given scales follows: it rounds where a product would
pass the bound, and looks up what fits a table. Of the scales whose plan fits, the finest are tried
first; the first plan that is as accurate as asked, and takes every row, is the height's.

A plan whose error is certain to keep the bound, for every input and witness, may cost a little more
than one that was merely seen to keep it. Our own model of the arithmetic says which are certain,
before any circuit is made.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from oracle.circuits import cost, quick, trial
from oracle.circuits.cost import Estimate, usable_rows
from oracle.circuits.fixed import (
    COMPARISONS,
    CURVES,
    SUMS,
    Rewritten,
    Source,
    Tensor,
    Unplannable,
    Work,
    prepared,
    rewrite,
)
from oracle.circuits.judge import FIRST_SAMPLES, Candidate, Goal, Judge, Subject, Tuned
from oracle.circuits.lowering.graph import Node
from oracle.circuits.onnx import add_tag
from oracle.circuits.plan import Plan
from oracle.circuits.shapes import (
    MAX_LOGROWS,
    MAX_SPREAD,
    TAG_LAYOUTS,
    Shape,
    filled,
    greatest_base,
    least_logrows,
    limb_rows,
    loosened,
)
from oracle.circuits.trial import Floats, Graph, Outcome
from oracle.circuits.tuner import CODE_ERROR
from oracle.circuits.verifier import MAX_CODE_BYTES
from oracle.errors import ProverError, ProverMemory, ProverTimeout
from oracle.types import TagLayout

Json = dict[str, Any]
#: What a circuit of such options computes on rows; None where that is not known.
Sketch = Callable[[Graph, Json, Floats], Outcome | None]

#: The least height that is tried.
_LEAST_LOGROWS = 7
_LEGS = (2, 3, 4, 6)
_SPREADS = (1, 2, MAX_SPREAD)
#: Fractional bits that are tried.
_SCALES = range(2, 15)
_WEIGHT_SCALES = range(1, 25)
#: How much finer than the inputs it is rounded.
_FINER = (0, 3, -3)
#: Greatest multiple of the scale that ezkl's limit may be.
_MAX_MULTIPLIER = 8
#: Plans of one room that are tried.
_TRIES = 4
#: Rows of an element, without legs and for each leg (ezkl 23.0.5, measured).
_ROWS: Mapping[Work, tuple[int, int]] = {
    Work.SCALE: (1, 0),
    Work.ROUND: (28, 9),
    # Less the row of a lookup, which is counted already.
    Work.RELU: (5, 3),
    Work.COMPARE: (14, 3),
}
#: Tables that a plan may bring in, and the operators that they take the place of.
_OWN_TABLES: Mapping[str, frozenset[str]] = {
    "HardSwish": frozenset({"Relu"}),
    "Sigmoid": COMPARISONS,
}
#: Bits that the sums after a last product may take.
_SUM_BITS = 1
#: Larger graphs are left to ezkl's arithmetic (nodes).
_MAX_NODES = 500
#: How often it is asked what else to round before a Relu.
_EARLIER = 4
#: Rounding moves numbers a little beyond what the float model has, and so do rows not tried.
_MARGIN = 1.05
#: How many times as much as the best a circuit may cost whose error is certain.
WORTH = 1.3
#: The greatest height where nothing else is known to fit.
_MOST_LOGROWS = 14


@dataclass(frozen=True, slots=True)
class Magnitude:
    """How large a tensor's values get, over all rows that are tried."""

    low: float
    high: float
    #: Number of elements.
    size: int

    @property
    def most(self) -> float:
        """Greatest absolute value."""
        return max(-self.low, self.high, 2.0**-64)


@dataclass(frozen=True, slots=True)
class Room:
    """What a circuit of one column has room for."""

    logrows: int
    legs: int
    #: Columns of each lookup table.
    spread: int
    #: Of `_OWN_TABLES`, those that may be brought in.
    tables: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """Rows that can be used."""
        return usable_rows(self.logrows)

    @property
    def bits(self) -> float:
        """Numbers are below two to the power of this."""
        return self.legs * math.log2(min(self.rows, greatest_base(self.legs)))

    @property
    def entries(self) -> int:
        """Entries of a table."""
        return self.spread * self.rows

    @property
    def tag(self) -> TagLayout | None:
        """The tag of the fewest limbs that fit; None if none do."""
        return next((tag for tag in TAG_LAYOUTS if tag.bits <= self.bits), None)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plan that fits its room by the count of its rows."""

    plan: Plan
    rewritten: Rewritten
    #: Rows beside those that all plans share.
    rows: int


@dataclass(frozen=True, slots=True)
class Planned:
    """What a search for plans came to."""

    #: The best circuit; None if no plan beats the rival.
    best: Tuned | None
    #: The best of those whose error is certain; None if there is none that is worth its price.
    certain: Tuned | None
    #: Every plan that was estimated, in the order of the search.
    candidates: tuple[Candidate, ...]
    #: Why it ended before it had tried everything; empty if it had.
    ended: str = ""


def search(
    subject: Subject,
    judge: Judge,
    rival: Candidate | None,
    progress: Callable[[str], None] = lambda _: None,
    known: Tuned | None = None,
) -> Planned:
    """The best circuit of a planned arithmetic, if its estimate beats a rival's.

    Args:
        subject: the model, of no plan yet.
        judge: of the model.
        rival: the best circuit with ezkl's own arithmetic; None if there is none.
        progress: called with a few words before each height.
        known: a circuit whose error is certain, that another has to beat.
    """
    best: Tuned | None = None
    certain = known
    plans, ended = None, ""
    try:
        plans = _Plans(subject, judge, rival.scale if rival else None)
        most = rival.shape.logrows if rival else _MOST_LOGROWS
        for logrows in range(_LEAST_LOGROWS, most + 1):
            progress(f"planning the arithmetic of 2**{logrows} rows")
            for legs, spread in itertools.product(_LEGS, _SPREADS):
                room = Room(logrows, legs, spread)
                found = plans.within(room, _Limit(rival))
                if found is not None:
                    best, rival = found, found.candidate
                    if judge.is_certain(found):
                        certain = found
                unknown = certain is None or rival is None or certain.candidate != rival
                if unknown and judge.certifies_plans:
                    dearer = plans.within(room, _Limit(rival, WORTH, certain), certain=True)
                    certain = dearer or certain
            if rival is not None and logrows > rival.shape.logrows:
                break
    except Unplannable as error:
        # The circuit of ezkl's own arithmetic serves.
        ended = f"circuits of a planned arithmetic, often smaller, were not tried, for {error}"
    except ProverError as error:
        # More work than there is time or memory for.
        ended = f"the search for plans ended early: {error.message}"
    considered = tuple(plans.considered) if plans is not None else ()
    return Planned(best, None if certain is known else certain, considered, ended)


@dataclass(frozen=True, slots=True)
class _Limit:
    """What a circuit may cost."""

    #: The best so far, and how many times as much as its cost is still worth a look.
    rival: Candidate | None
    worth: float = 1.0
    #: Another that it has to beat.
    other: Tuned | None = None

    def allows(self, goal: Goal, estimate: Estimate) -> bool:
        """Whether the cost is below the limit."""
        rank = goal.rank(estimate)
        if self.other is not None and rank >= goal.rank(self.other.candidate.estimate):
            return False
        if self.rival is None:
            return True
        best = goal.rank(self.rival.estimate)
        return rank < best if self.worth == 1.0 else rank[0] < best[0] * self.worth


class _Plans:
    """Plans of one model."""

    def __init__(self, subject: Subject, judge: Judge, finest: int | None = None) -> None:
        """Plans whose inputs are no finer than what is accurate where inputs and weights are alike.

        Finer ones would make requests longer and no answer better.
        """
        self._subject = subject
        self._judge = judge
        most = max(_SCALES[0], finest or _SCALES[-1])
        while most > _SCALES[0] and not judge.takes(most):
            most -= 1
        self._scales = range(_SCALES[0], most + 1)
        #: By the inputs' scale, the model that is planned.
        self._sources: dict[int, Source] = {}
        source = self._prepared(most)
        path = subject.graph.path.with_name("prepared.onnx")
        path.write_bytes(source.data)
        found = subject.graph.sandbox.run(
            "magnitudes",
            {
                "model": str(path),
                "input": subject.model.input_name,
                "rows": judge.tried.tolist(),
            },
        )["tensors"]
        self._magnitudes = {name: Magnitude(*values) for name, values in found.items()}
        #: By legs, settings of a plan, and the rows that all plans share, beside the tag's.
        self._shared: dict[int, tuple[Json, int]] = {}
        #: Plans that were tried, in whatever room.
        self._inaccurate: list[Plan] = []
        #: Plans whose error is not certain.
        self._uncertain: list[Plan] = []
        #: Candidates that were estimated.
        self.considered: list[Candidate] = []
        self._files = itertools.count()
        #: Plans that fit a room, by how much finer than inputs they round.
        self._frontiers: dict[tuple[Room, int], list[Chosen]] = {}
        graph = source.proto.graph
        if len(graph.node) > _MAX_NODES:
            raise Unplannable("a graph that would be planned for minutes")
        #: Results that reach the outputs by sums alone.
        self._last = _last_products(graph)
        operators = {node.op_type for node in graph.node}
        own = [name for name, replaced in _OWN_TABLES.items() if replaced & operators]
        #: Tables that a plan may bring in, the fewest first: each costs gas and time.
        self._tables = [
            frozenset(tables)
            for count in range(len(own) + 1)
            for tables in itertools.combinations(own, count)
        ]
        self._has_curves = not operators.isdisjoint(CURVES)

    def _prepared(self, scale: int) -> Source:
        """The model that is planned for a scale of the inputs."""
        if scale not in self._sources:
            self._sources[scale] = prepared(self._subject.at(scale).model)
        return self._sources[scale]

    def within(self, room: Room, limit: _Limit, *, certain: bool = False) -> Tuned | None:
        """The first of the finest plans for a room that is accurate and within the limit.

        With ``certain`` the first whose error is certain to keep the bound.
        """
        tag = room.tag
        if tag is None or not self._may_beat(room, limit):
            return None
        tried = set()
        for chosen in self._finest(room, tag):
            if chosen.plan in tried:
                continue
            tried.add(chosen.plan)
            if any(_no_finer(chosen.plan, other) for other in self._inaccurate):
                continue
            subject = self._planned(chosen, tag)
            if certain and not self._is_certain(subject, chosen, room):
                continue
            try:
                found = self._examined(subject, chosen.plan, room, limit)
            except (ProverMemory, ProverTimeout):
                raise
            except ProverError:
                # ezkl refuses some scales of some graphs, and a panic is a refusal too.
                continue
            if found is not None:
                return found
        return None

    def _is_certain(self, subject: Subject, chosen: Chosen, room: Room) -> bool:
        plan = chosen.plan
        if any(_no_finer(plan, other) for other in self._uncertain):
            return False
        shape = Shape(MAX_LOGROWS, 1, plan.multiplier, room.legs, 1 << 15)
        run_args = shape.run_args(plan.scale) | subject.graph.asked
        if self._judge.would_be_certain(subject, run_args):
            return True
        self._uncertain.append(plan)
        return False

    # --- plans that fit ---------------------------------------------------------------------------

    def _finest(self, room: Room, tag: TagLayout) -> Iterator[Chosen]:
        """Plans of the finest scales that fit."""
        rows = room.rows - self._any(room.legs)[1] - tag.limbs * limb_rows(room.legs)
        if rows < 0:
            return
        for tables in self._tables:
            if room.spread > 1 and not (tables or self._has_curves):
                # Nothing is looked up.
                continue
            furnished = dataclasses.replace(room, tables=tables)
            for finer in _FINER:
                plans = self._frontiers.get((furnished, finer))
                if plans is None:
                    plans = self._frontier(furnished, finer, rows)
                    self._frontiers[furnished, finer] = plans
                yield from plans[:_TRIES]
                if not any(chosen.plan.rounded for chosen in plans):
                    break

    def _frontier(self, room: Room, finer: int, rows: int) -> list[Chosen]:
        """Where inputs cannot be finer without coarser weights, those of like scales first."""
        if self._fitting(room, (_SCALES[0], finer, _WEIGHT_SCALES[0]), rows) is None:
            return []
        by_weight_scale = {}
        weight_scale = _WEIGHT_SCALES[-1]
        for scale in self._scales:
            chosen = None
            while weight_scale in _WEIGHT_SCALES and chosen is None:
                chosen = self._fitting(room, (scale, finer, weight_scale), rows)
                weight_scale -= chosen is None
            if chosen is not None:
                by_weight_scale[weight_scale] = chosen
        return sorted(
            by_weight_scale.values(),
            key=lambda each: (
                -min(each.plan.scale, each.plan.weight_scale),
                -each.plan.scale,
            ),
        )

    def _fitting(self, room: Room, scales: tuple[int, int, int], rows: int) -> Chosen | None:
        """The plan of fewest rows for scales of inputs, of rounding above it, and of weights."""
        found = []
        lazy = self._chosen(room, scales, frozenset())
        if lazy is not None:
            chosen, origins = lazy
            found.append(chosen)
            # What is rounded later may as well be rounded before a Relu, if that can be looked up.
            for _ in range(_EARLIER if "HardSwish" in room.tables else 0):
                early = self._chosen(room, scales, origins) if origins else None
                if early is None:
                    break
                found.append(early[0])
                if early[1] <= origins:
                    break
                origins |= early[1]
        best = min(found, key=lambda each: each.rows, default=None)
        return best if best is not None and best.rows <= rows else None

    def _chosen(
        self, room: Room, scales: tuple[int, int, int], early: frozenset[str]
    ) -> tuple[Chosen, frozenset[str]] | None:
        """A plan, and the products that it rounds; None if numbers pass the room's bounds."""
        scale, finer, weight_scale = scales
        multiplier = 1
        while multiplier <= _MAX_MULTIPLIER:
            plan = Plan(scale, weight_scale, (), multiplier, (), ())
            rounded_scale = max(1, scale + finer)
            chooser = _Chooser(plan, rounded_scale, room, self._magnitudes, self._last, early)
            try:
                rewritten = rewrite(self._prepared(scale), chooser)
            except _TooLarge:
                return None
            if rewritten.greatest <= plan.limit:
                break
            multiplier = max(multiplier + 1, -(-rewritten.greatest // scale))
        else:
            return None
        plan = dataclasses.replace(
            plan,
            weight_scales=tuple(sorted(chooser.weight_scales.items())),
            rounded=tuple(sorted(chooser.rounded)),
            looked_up=tuple(sorted(chooser.looked_up)),
        )
        return Chosen(plan, rewritten, self._rows(rewritten, room.legs)), frozenset(chooser.origins)

    def _rows(self, rewritten: Rewritten, legs: int) -> int:
        """Rows beside those that all plans share."""
        return sum(
            _of(_ROWS[work], legs) * self._magnitudes[name].size
            for work, name in rewritten.work
            if name in self._magnitudes
        )

    def _may_beat(self, room: Room, limit: _Limit) -> bool:
        """Whether a plan without any table of its own would be within the limit in the room."""
        settings = self._any(room.legs)[0]
        digits = [0, settings["run_args"]["decomp_base"] - 1]
        checks = [each for each in settings["required_range_checks"] if each != digits]
        least = {
            "run_args": settings["run_args"] | {"logrows": room.logrows, "lookup_range": (0, 0)},
            "required_lookups": [
                each for each in settings["required_lookups"] if _OWN_TABLES.keys().isdisjoint(each)
            ],
            "required_range_checks": [*checks, [0, room.rows - 1]],
        }
        goal = self._judge.goal
        estimate = cost.estimate(cost.structure(settings | least), room.logrows, goal.speed)
        return limit.allows(goal, estimate)

    def _any(self, legs: int) -> tuple[Json, int]:
        """Settings of some plan, and the rows that all share."""
        if legs not in self._shared:
            found = self._chosen(Room(20, 3, 1, self._tables[-1]), (4, 0, 4), frozenset())
            if found is None:
                raise Unplannable("numbers too large for any circuit")
            chosen, tag = found[0], TAG_LAYOUTS[0]
            graph = self._planned(chosen, tag).graph
            run_args = Shape(20, 1, chosen.plan.multiplier, legs, 1 << 15).run_args(0)
            settings = trial.settings(graph, [run_args])[0]["settings"]
            if settings is None:
                raise Unplannable("refused by the circuit compiler")
            own = self._rows(chosen.rewritten, legs) + tag.limbs * limb_rows(legs)
            self._shared[legs] = settings, settings["num_rows"] - own
        return self._shared[legs]

    # --- plans that are tried ---------------------------------------------------------------------

    def _planned(self, chosen: Chosen, tag: TagLayout) -> Subject:
        """The model with a plan."""
        old = self._subject.at(chosen.plan.scale)
        model = dataclasses.replace(old.model, data=chosen.rewritten.data, plan=chosen.plan)
        folder = old.graph.path.parent / f"plan-{next(self._files)}"
        folder.mkdir()
        path = folder / old.graph.path.name
        path.write_bytes(add_tag(model, tag))
        graph = dataclasses.replace(old.graph, path=path, layout=tag, asked=chosen.plan.asked)
        return dataclasses.replace(old, model=model, graph=graph)

    def _examined(self, subject: Subject, plan: Plan, room: Room, limit: _Limit) -> Tuned | None:
        """A circuit of the plan that is accurate and within the limit."""
        base = min(room.rows, greatest_base(room.legs))
        shape = Shape(room.logrows, 1, plan.multiplier, room.legs, base, tag=subject.graph.layout)
        # As if its tables took a column each.
        least = self._better(subject, shape, plan, (0, 0), limit)
        if least is None:
            return None
        tuned, outcome = self._proving(subject, plan, room, shape, limit)
        known = dataclasses.replace(least[0], outcome=outcome) if tuned is None else tuned.candidate
        self.considered.append(known)
        return tuned

    def _proving(
        self, subject: Subject, plan: Plan, room: Room, shape: Shape, limit: _Limit
    ) -> tuple[Tuned | None, str]:
        """A circuit of the plan, or why there is none."""
        judge = self._judge
        asked: tuple[int, int] | None = None
        better: tuple[Candidate, Json] | None = None
        # What our own arithmetic refuses, tables and all, takes no circuit to refuse.
        for sketch in (quick.sketch, trial.sketch):
            found, why = self._asked(subject, plan, shape.run_args(plan.scale), sketch)
            if why:
                return None, why
            if found is None or found == asked:
                continue
            asked = found
            if asked[1] - asked[0] >= MAX_SPREAD * room.rows:
                return None, "its lookup tables are larger"
            better = self._better(subject, shape, plan, filled(asked, room.rows), limit)
            if better is None:
                break
        if asked is None or better is None:
            return None, "no better with its tables"
        candidate, settings = better
        lookups = filled(asked, room.rows)
        rows = judge.tried_at(plan.scale)
        outcome = trial.run(subject.graph, settings, rows, all_or_none=True)
        compared = judge.compare(outcome, plan.scale)
        if compared is None or not judge.accurate(compared):
            return None, "its numbers are larger"
        run_args = shape.run_args(plan.scale, lookups) | subject.graph.asked
        return judge.tuned(subject, candidate, settings, run_args, compared), "finalist"

    def _asked(
        self, subject: Subject, plan: Plan, run_args: Json, sketch: Sketch
    ) -> tuple[tuple[int, int] | None, str]:
        """What is looked up on all rows that are tried, and why not if the circuit is refused.

        None without a reason where a sketch lacks something that the circuit has.
        """
        judge = self._judge
        tried = judge.tried_at(plan.scale)
        # A few rows refuse most.
        first = [judge.rows[:FIRST_SAMPLES]] if sketch is quick.sketch else []
        lookups = None
        for rows in (*first, tried):
            found = sketch(subject.graph, run_args, rows)
            if found is None:
                return None, ""
            compared = judge.compare(found, plan.scale)
            if compared is None:
                return None, "its numbers are larger"
            whole = len(rows) == len(tried)
            if not judge.accurate(compared) or (whole and not judge.confirmed(compared)):
                self._inaccurate.append(plan)
                return None, "not accurate"
            lookups = loosened(compared.lookups)
        return lookups, ""

    def _better(
        self,
        subject: Subject,
        shape: Shape,
        plan: Plan,
        lookups: tuple[int, int],
        limit: _Limit,
    ) -> tuple[Candidate, Json] | None:
        """The candidate and its settings, if they fit the shape and the limit."""
        goal = self._judge.goal
        run_args = shape.run_args(plan.scale, lookups)
        settings = trial.settings(subject.graph, [run_args])[0]["settings"]
        if settings is None or least_logrows(settings) > shape.logrows:
            return None
        estimate = cost.estimate(cost.structure(settings), shape.logrows, goal.speed)
        worse = not limit.allows(goal, estimate)
        dear = estimate.memory_bytes > goal.memory_bytes or estimate.prove_seconds > goal.seconds
        if worse or dear or estimate.verifier_bytes * CODE_ERROR > MAX_CODE_BYTES:
            return None
        return Candidate(shape, estimate, plan.scale), settings


class _TooLarge(Exception):
    """A number passes the bound of a room."""


class _Chooser:
    """Decides, for given scales, what fits a room."""

    def __init__(
        self,
        scales: Plan,
        rounded_scale: int,
        room: Room,
        magnitudes: Mapping[str, Magnitude],
        last: frozenset[str],
        early: frozenset[str],
    ) -> None:
        self._scales = scales
        #: Fractional bits of an argument that is rounded for the bound.
        self._rounded_scale = rounded_scale
        self._room = room
        #: Operators that may be looked up without being curves.
        self._replaced = frozenset().union(*(_OWN_TABLES[name] for name in room.tables))
        self._magnitudes = magnitudes
        self._last = last
        #: Products that are rounded before a Relu, so that it can be looked up.
        self._early = early
        self.weight_scales: dict[str, int] = {}
        self.rounded: set[tuple[str, int, int]] = set()
        self.looked_up: set[str] = set()
        #: Products whose results, or what was made of them, were rounded.
        self.origins: set[str] = set()

    @property
    def scales(self) -> Plan:
        return self._scales

    def rounds(self, node: Node, position: int, tensor: Tensor, raised: int) -> int | None:
        result, operator = node.proto.output[0], node.key[1]
        true = tensor.true
        if operator in CURVES:
            true = self._tabled(tensor)
        elif operator == "Relu":
            if tensor.origin in self._early:
                true = self._tabled(tensor)
        elif self._bits(result, tensor.true + raised) > self._room.bits:
            true = self._rounded_scale
        if true >= tensor.true:
            return None
        self.rounded.add((result, position, true))
        self.origins.add(tensor.origin)
        return true

    def looks_up(self, node: Node, arguments: Sequence[Tensor]) -> bool:
        operator, curve = node.key[1], node.key[1] in CURVES
        fits = self._entries(arguments, arguments[0].true) <= self._room.entries
        if curve and not fits:
            raise _TooLarge
        if not fits or not (curve or operator in self._replaced):
            return False
        self.looked_up.add(node.proto.output[0])
        return True

    def weight_scale(self, node: Node, tensor: Tensor) -> int:
        result = node.proto.output[0]
        if result not in self._last:
            return self._scales.weight_scale
        # Nothing is looked up or multiplied any more: as fine as the bound allows.
        most = self._of(result).most
        if not math.isfinite(most):
            raise _TooLarge
        bits = math.floor(self._room.bits - _SUM_BITS - math.log2(most * _MARGIN)) - tensor.true
        # No coarser than others: rather the argument is rounded.
        bits = max(bits, self._scales.weight_scale)
        self.weight_scales[result] = min(bits, _WEIGHT_SCALES[-1])
        return self.weight_scales[result]

    def holds(self, tensor: Tensor) -> None:
        if self._bits(tensor.original, tensor.true) > self._room.bits:
            raise _TooLarge

    def _bits(self, name: str, true: int) -> float:
        """Bits of a tensor's largest number."""
        return math.log2(self._of(name).most * _MARGIN) + true

    def _entries(self, arguments: Sequence[Tensor], true: int) -> float:
        """Entries of a table for all differences, or all values of a single one, and zero."""
        known = [self._of(each.original) for each in arguments if each.original]
        if len(arguments) == 1:
            span = max(known[0].high, 0.0) - min(known[0].low, 0.0)
        else:
            # Constants lie among what they are compared with.
            span = sum(each.high - each.low for each in known) * (3 - len(known))
        return span * _MARGIN * 2.0**true

    def _tabled(self, tensor: Tensor) -> int:
        """The finest scale at which all values of a tensor fit a table."""
        whole = max(self._entries([tensor], 0), 2.0**-64)
        return max(0, math.floor(math.log2(self._room.entries / whole)))

    def _of(self, name: str) -> Magnitude:
        if name not in self._magnitudes:
            raise Unplannable(f"nothing is known of '{name}'")
        return self._magnitudes[name]


def _of(rows: tuple[int, int], legs: int) -> int:
    return rows[0] + rows[1] * legs


def _no_finer(plan: Plan, other: Plan) -> bool:
    """Whether nothing in a plan is finer than in another, which rounds no more.

    What is looked up makes no difference to the numbers.
    """
    last = dict(other.weight_scales)
    rounded = {(name, position): bits for name, position, bits in plan.rounded}
    return (
        plan.scale <= other.scale
        and plan.weight_scale <= other.weight_scale
        and all(bits <= last.get(name, 0) for name, bits in plan.weight_scales)
        and all(
            rounded.get((name, position), math.inf) <= bits
            for name, position, bits in other.rounded
        )
    )


def _last_products(graph: onnx.GraphProto) -> frozenset[str]:
    """Results that reach the graph's outputs by sums and moves alone."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    last = {value.name for value in graph.output}
    for node in reversed(graph.node):
        result = node.output[0]
        after = users.get(result, [])
        if after and all(each.op_type in SUMS and each.output[0] in last for each in after):
            last.add(result)
    return frozenset(last)
