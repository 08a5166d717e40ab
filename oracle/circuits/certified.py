"""A bound on a circuit's error that holds for every input of a box, and every accepted witness.

Each tensor is followed twice: the numbers that the float model has, and by how much the circuit's
differ from them. Both are affine forms (`oracle.circuits.zonotope`), over symbols for the inputs
and for every rounding. The circuit accepts any quotient less than one away, so a rescaling may be
off by almost a unit; a table is off by half of one. What is not linear scales an error by a slope
between two known ones.

Bits of comparisons are taken as the float model's, outside a margin: that of comparisons of numbers
that have an error. Where an input's own number is compared with a constant, and no number of the
grid lies between the constant and what it is rounded to, the bit is exact.

The float model is float32. What its own rounding may amount to is added, four times the standard
bound, for it may do its steps in another order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits.arithmetic import Arithmetic, Step, curve
from oracle.circuits.greater import Pair, Tournaments
from oracle.circuits.loaded import (
    COMPARISONS,
    MOVES,
    TABLES,
    Unmodelled,
    Value,
    aligned,
    convolved,
    moved,
)
from oracle.circuits.zonotope import Floats, Form, Symbols, padded

Integers = npt.NDArray[np.int64]
Literals = npt.NDArray[np.int8]

#: Relative error of a float32 operation, and how much more of it is allowed for.
_FLOAT = 2.0**-24
_MORE = 4
#: Of onnxruntime's exponentials and the like, relative, or absolute below one.
_CURVE = 2.0**-21
#: Relative error of a table's base of exponentials.
_BASE = 4e-8
#: Tables whose numbers never fall.
_RISING = frozenset({"Erf", "Exp", "Log", "Sigmoid", "Tanh"})
#: Operators that round nothing, if the circuit does not afterwards.
_KEEPING = MOVES | COMPARISONS | {"Add", "And", "Mul", "Not", "Or", "Sub", "Where", "Xor"}
#: Shapes of one number.
_SINGLE = frozenset((1,) * rank for rank in range(8))
#: How far, in units, the nearest square root may be off: of numbers next to zero, the most.
_ROOT = 0.75
#: Relative difference that is certainly no more than rounding of what the file's constants are of.
_FOLDED = 2.0**-23


@dataclass(frozen=True, slots=True)
class Certificate:
    """What holds of a circuit for every input of a box."""

    #: No proved number differs by more from the float model's, for each of the numbers [n].
    errors: Floats
    #: As long as no two numbers that are compared are this close, or as close to where a floor
    #: jumps: in units of the file as it is proved. Zero: always.
    margin: float
    #: Whether the circuit only moves, compares and chooses among these numbers afterwards: then a
    #: policy that ends so publishes what scores give that are off by no more.
    is_final: bool

    @property
    def error(self) -> float:
        """The greatest of the errors."""
        return float(self.errors.max(initial=0))


def certificate(
    arithmetic: Arithmetic, low: Floats, high: Floats, *, at: str | None = None
) -> Certificate:
    """A bound on what a circuit proves less what the float model gives.

    Args:
        arithmetic: of the model file as it is proved.
        low: least number of each input, float64 [inputs], on the grid of the inputs' scale.
        high: as ``low``, the greatest.
        at: a tensor of the file, to bound instead of the outputs; its units are the file's.

    Raises:
        Unmodelled: an operator has no bound in the box, or the file has no such tensor.
    """
    names = arithmetic.loaded.names
    if at is not None and at not in names:
        raise Unmodelled(at)
    wanted = arithmetic.loaded.outputs if at is None else (names[at],)
    prover = _Prover(arithmetic)
    # Numbers without bound are infinite or none, and refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        found = prover.run(low, high, wanted)
    errors = np.concatenate([each.error.most.ravel() for each in found])
    if not np.isfinite(errors).all():
        raise Unmodelled("numbers without bound")
    return Certificate(errors, prover.margin, _is_final(arithmetic, wanted))


def _is_final(arithmetic: Arithmetic, wanted: Sequence[int]) -> bool:
    """Whether nothing is rounded or looked up of tensors' numbers."""
    after = set(wanted)
    for step in arithmetic.steps:
        if after.isdisjoint(step.value.inputs):
            continue
        is_table = step.value.operator in ("HardSwish", "Sigmoid") and arithmetic.is_planned
        if step.divisor > 1 or not (
            step.value.operator in _KEEPING or (is_table and step.given[0] == 0)
        ):
            return False
        after.add(step.position)
    return True


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What is known of a tensor."""

    #: What the float model has.
    value: Form
    #: What the circuit has, less that.
    error: Form
    #: Bounds of the float model's numbers, at least as good as the form's, [1, *shape].
    low: Floats
    high: Floats
    #: For bits: of which tests each is the conjunction (1), or of which test's contrary (-1);
    #: [tests, *shape].
    literals: Literals | None = None
    #: What the circuit's numbers are at least, and at most, where more is known than follows.
    least: Floats | float = -math.inf
    most: Floats | float = math.inf

    @classmethod
    def of(cls, value: Form, error: Form, low: Floats, high: Floats) -> _Bounds:
        """With the better of the bounds given and the form's."""
        radius = value.radius
        return cls(
            value,
            error,
            np.maximum(low, value.centre - radius),
            np.minimum(high, value.centre + radius),
        )

    @property
    def middle(self) -> Floats:
        return (self.low + self.high) / 2

    @property
    def reach(self) -> Floats:
        """Half the width of the bounds."""
        return (self.high - self.low) / 2

    @property
    def size(self) -> Floats:
        """The largest absolute value."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    @property
    def proved(self) -> tuple[Floats, Floats]:
        """Bounds of the circuit's numbers."""
        under, over = _ends(self.error)
        least = np.maximum(self.low + under, self.least)
        return least, np.minimum(self.high + over, self.most)

    @property
    def hull(self) -> tuple[Floats, Floats]:
        """Bounds of the float model's numbers and the circuit's."""
        least, most = self.proved
        return np.minimum(self.low, least), np.maximum(self.high, most)

    @property
    def is_exact(self) -> bool:
        """Whether the circuit has the very numbers of the float model."""
        return self.error.is_zero


class _Prover:
    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        self._values = arithmetic.loaded.values
        self._symbols = Symbols()
        self._tests = 0
        self._steps = {step.position: step for step in arithmetic.steps}
        self._known: dict[int, _Bounds] = {}
        self._nudges = _nudges(arithmetic)
        #: Of the float model's numbers, and of the circuit's.
        self._tournaments = Tournaments(arithmetic.loaded)
        self._played = Tournaments(arithmetic.loaded)
        #: By position, the tensor of which it is a power of two times, and that power.
        self._roots: dict[int, tuple[int, float]] = {}
        self.margin = 0.0
        self._rules: Mapping[str, Callable[[Step, Sequence[_Bounds]], _Bounds]] = {
            **dict.fromkeys(MOVES, self._move),
            **dict.fromkeys(TABLES, self._look_up),
            **dict.fromkeys(COMPARISONS, self._compare),
            **dict.fromkeys(("Ceil", "Floor", "Round", "Whole"), self._round),
            **dict.fromkeys(("And", "Not", "Or", "Xor"), self._logic),
            "Abs": lambda _, given: self._absolute(given[0]),
            "Add": self._sum,
            "Conv": self._convolve,
            "InverseRoot": self._inverse_root,
            "MatMul": self._matrices,
            "Max": self._extreme,
            "MeanOfSquares": self._mean_of_squares,
            "Min": self._extreme,
            "Mul": self._product,
            "Neg": lambda _, given: _negated(given[0]),
            "Pad": self._pad,
            "Reciprocal": lambda step, given: self._inverse(given[0], _unit(step)),
            "Relu": lambda _, given: self._relu(given[0]),
            "Sqrt": lambda step, given: self._root(given[0], _unit(step)),
            "Sub": self._sum,
            "Sum": self._total,
            "Where": self._where,
        }

    def run(self, low: Floats, high: Floats, wanted: Sequence[int]) -> list[_Bounds]:
        """Bounds of tensors, for inputs in a box."""
        loaded = self._arithmetic.loaded
        shape = (1, *self._values[loaded.input].shape)
        least, most = (np.asarray(each, np.float64).reshape(shape) for each in (low, high))
        value = self._symbols.new((most - least) / 2)
        value = dataclasses.replace(value, terms=value.terms.copy())
        value.terms[0] = ((most + least) / 2)[0]
        # The model gets float32, which may be coarser than the grid.
        scale = self._arithmetic.scales[loaded.input]
        numbers = np.maximum(np.abs(least), np.abs(most)) * 2.0**scale
        coarse = np.where(numbers > 2**24, _FLOAT * np.maximum(np.abs(least), np.abs(most)), 0)
        error = Form(np.zeros(shape), coarse)
        self._known[loaded.input] = _Bounds.of(value.widened(coarse), error, least, most)
        for step in self._arithmetic.steps:
            self._known[step.position] = self._step(step)
        return [self._of(position) for position in wanted]

    def _step(self, step: Step) -> _Bounds:
        rule = self._rules.get(step.value.operator)
        if rule is None:
            raise Unmodelled(step.value.operator)
        self._follow(step)
        found = rule(step, [self._of(each) for each in step.value.inputs])
        if step.divisor > 1:
            found = self._rescaled(found, step)
        if not (np.isfinite(found.low).all() and np.isfinite(found.high).all()):
            raise Unmodelled(step.value.operator)
        return self._capped(found)

    def _capped(self, found: _Bounds) -> _Bounds:
        """With an error no larger than the bounds of the circuit's numbers and the model's say."""
        known = np.isfinite(found.least) & np.isfinite(found.most)
        if not np.any(known):
            return found
        low = np.where(known, found.least - found.high, -np.inf)
        high = np.where(known, found.most - found.low, np.inf)
        under, over = _ends(found.error)
        better = known & (np.maximum(-low, high) < np.maximum(-under, over))
        if not better.any():
            return found
        middle, reach = (np.where(better, each, 0) for each in ((low + high) / 2, (high - low) / 2))
        kept = found.error.times(np.where(better, 0.0, 1.0))
        error = kept.plus(Form.exactly(middle)).plus(self._symbols.new(reach))
        return dataclasses.replace(found, error=error)

    def _follow(self, step: Step) -> None:
        scaled = self._scaled_by(step)
        for tournaments in (self._tournaments, self._played):
            if scaled is None:
                tournaments.follow(step.position, step.value)
            else:
                tournaments.scale(step.position, *scaled)
        if step.divisor > 1:
            self._played.round(step.position, _unit(step) * (1 - 1 / step.divisor))

    def _scaled_by(self, step: Step) -> tuple[int, float] | None:
        """What a step multiplies by a power of two, and by which; None of other steps."""
        inputs, value = step.value.inputs, step.value
        if value.operator == "Identity":
            return inputs[0], 2.0 ** (step.given[0] - step.scale)
        if value.operator != "Mul":
            return None
        for place in (0, 1):
            factor = self._power_of_two(inputs[place])
            if factor is not None and self._values[inputs[1 - place]].shape == value.shape:
                return inputs[1 - place], factor
        return None

    def _of(self, position: int) -> _Bounds:
        if position not in self._known:
            self._known[position] = self._constant(position)
        return self._known[position]

    def _constant(self, position: int) -> _Bounds:
        exact, apart, doubt = self._parts(position)
        value = Form(exact, doubt)
        return _Bounds(value, Form(apart, doubt), exact - doubt, exact + doubt)

    def _parts(self, position: int) -> tuple[Floats, Floats, Floats]:
        """A constant's numbers in the file, what it lacks in the circuit, and how well it is known.

        Each [1, *shape]. The file's numbers may be a few float32 steps from the model's.
        """
        constant = self._values[position].constant
        if constant is None:
            raise Unmodelled(self._values[position].operator)
        exact = constant.astype(np.float64)[np.newaxis]
        proved = np.ldexp(
            self._arithmetic.constants[position].astype(np.float64),
            -self._arithmetic.scales[position],
        )
        doubt = np.zeros_like(exact)
        if self._values[position].kind == "f":
            doubt = (_FOLDED + self._nudges[position]) * np.abs(exact)
            whole = (exact == np.rint(exact)) & (np.abs(exact) < 2**20)
            doubt = np.where(whole & (not self._arithmetic.is_planned), 0, doubt)
        return exact, proved - exact, doubt

    def _is_constant(self, position: int) -> bool:
        return self._values[position].constant is not None

    def _rescaled(self, found: _Bounds, step: Step) -> _Bounds:
        """After the division: off by anything less than a unit."""
        unit = _unit(step)
        if found.literals is not None and unit <= 1 and found.is_exact:
            # Nought or a whole power of two, which divides.
            return found
        if step.value.operator == "MatMul" and step.divisor <= 1 << max(step.given[0], 0):
            bits = self._of(step.value.inputs[0])
            if bits.literals is not None and bits.is_exact:
                # Each term is a multiple of the divisor.
                return found
        known = [self._arithmetic.constants.get(each) for each in step.value.inputs]
        if step.value.operator in ("Mul", "MatMul") and any(
            each is not None and not (each % step.divisor).any() for each in known
        ):
            return found
        off = np.full(found.low.shape, unit * (1 - 1 / step.divisor))
        error = found.error.plus(self._symbols.new(off))
        # What has no sign, or one, keeps it.
        least = np.where(np.asarray(found.least) >= 0, 0, found.least - unit)
        most = np.where(np.asarray(found.most) <= 0, 0, found.most + unit)
        least, most = np.maximum(least, found.least - unit), np.minimum(most, found.most + unit)
        return dataclasses.replace(found, error=error, least=least, most=most)

    def _floats(self, error: Form, value: Form, size: Floats, count: int = 1) -> tuple[Form, Form]:
        """Error and value, with the float model's own rounding of results of ``size``."""
        own = _MORE * count * _FLOAT * size
        return error.widened(own), value.widened(own)

    # --- moves and sums ---------------------------------------------------------------------------

    def _move(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        value = step.value
        if value.operator == "Identity":
            return self._by_power(step, *(self._scaled_by(step) or (value.inputs[0], 1.0)))

        def change(*arrays: Any) -> Any:
            return np.asarray(moved(value, arrays))

        literals = None
        if all(each.literals is not None for each in given):
            known = [each.literals for each in given if each.literals is not None]
            most = max(map(len, known))
            literals = change(*(_padded(each, most) for each in known))
        return _Bounds(
            Form(
                change(*padded(*(g.value for g in given))), change(*(g.value.rest for g in given))
            ),
            Form(
                change(*padded(*(g.error for g in given))), change(*(g.error.rest for g in given))
            ),
            change(*(each.low for each in given)),
            change(*(each.high for each in given)),
            literals,
            change(*(np.broadcast_to(each.least, each.low.shape) for each in given)),
            change(*(np.broadcast_to(each.most, each.low.shape) for each in given)),
        )

    def _by_power(self, step: Step, source: int, factor: float) -> _Bounds:
        """A tensor times a power of two, which float32 does exactly."""
        root, before = self._roots.get(source, (source, 1.0))
        self._roots[step.position] = root, before * factor
        return _scaled(self._of(source), factor)

    def _power_of_two(self, position: int) -> float | None:
        """A constant that is a single power of two in file and circuit; None of any other."""
        if not self._is_constant(position) or self._values[position].shape not in _SINGLE:
            return None
        exact, apart, _ = self._parts(position)
        number = float(exact.flat[0])
        return number if math.frexp(number)[0] == 0.5 and not apart.any() else None

    def _pad(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        pads = ((0, 0), *step.value.settings["pads"])
        return _each(given[0], lambda array: np.pad(array, pads))

    def _sum(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        """Add and Sub."""
        first, second = given
        sign = 1 if step.value.operator == "Add" else -1
        opposite = self._without_literal(step, given)
        if opposite is not None:
            return opposite
        other = second if sign == 1 else _negated(second)
        low, high = first.low + other.low, first.high + other.high
        low, high = self._tighter(step, low, high)
        error, value = first.error.plus(other.error), first.value.plus(other.value)
        own = np.maximum(np.abs(low), np.abs(high))
        error, value = self._floats(error, value, own)
        high = high + own * 2**-20
        if sign == -1:
            lacks = self._tournaments.lacks(step.position) == 0
            high = np.where(lacks, np.minimum(high, own * 2**-20), high)
        pair = self._played.pair(step.value)
        if pair is not None:
            error = self._of_greater(pair, error, own)
        found = _Bounds.of(value, error, low - own * 2**-20, high)
        least, most = (a + b for a, b in zip(first.proved, other.proved, strict=True))
        return dataclasses.replace(found, least=least, most=most)

    def _of_greater(self, pair: Pair, error: Form, own: Floats) -> Form:
        """The error of the greater of two, so many times: no more than either's."""
        times = pair.times
        ends = [_ends(self._of(each).error) for each in (pair.first, pair.second)]
        low = times * np.minimum(ends[0][0], ends[1][0])
        high = times * np.maximum(ends[0][1], ends[1][1])
        reach = (high - low) / 2 + _MORE * _FLOAT * own + pair.slack
        if float(error.radius.sum()) <= float(reach.sum()):
            return error
        middle = (low + high) / 2
        return Form.exactly(middle).plus(self._symbols.new(reach))

    def _tighter(self, step: Step, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Better bounds of the forms that a Relu, or the greater of two, is written in."""
        pair = self._tournaments.pair(step.value)
        if pair is not None:
            one, other, times = self._of(pair.first), self._of(pair.second), pair.times
            low = np.maximum(low, times * np.maximum(one.low, other.low))
            high = np.minimum(high, times * np.maximum(one.high, other.high))
        for place in (0, 1) if step.value.operator == "Add" else ():
            maker = self._values[step.value.inputs[place]]
            if maker.operator == "Abs" and maker.inputs[0] == step.value.inputs[1 - place]:
                low = np.maximum(low, 0)
        return low, high

    def _total(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        axes = tuple(axis + 1 for axis in step.value.settings["axes"])
        x = given[0]
        found = _each(x, lambda array: np.asarray(array.sum(axis=axes, keepdims=True)))
        count = x.low.size // found.low.size
        size = x.size.sum(axis=axes, keepdims=True)
        error, value = self._floats(found.error, found.value, size, count)
        low = found.low - size * 2**-18
        source = (step.value.inputs[0], step.value.settings["axes"])
        whole = self._tournaments.holds_one(*source) == 0
        low = np.where(whole, np.maximum(low, 1 - size * 2**-18), low)
        result = _Bounds.of(value, error, low, found.high + size * 2**-18)
        least, most = (each.sum(axis=axes, keepdims=True) for each in x.proved)
        slack = self._played.holds_one(*source)
        # An exponent of exactly zero has exactly one; others are looked up, to half a unit.
        one = np.where(slack == 0, 1.0, np.exp(-slack) - 2.0 ** -step.given[0])
        least = np.maximum(least, np.where(np.isfinite(slack), one, least))
        return dataclasses.replace(result, least=least, most=most)

    # --- products ---------------------------------------------------------------------------------

    def _product(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        inputs = step.value.inputs
        scaled = self._scaled_by(step)
        if scaled is not None:
            return self._by_power(step, *scaled)
        constant = [self._is_constant(each) for each in inputs]
        if any(constant):
            place = constant.index(True)
            return self._weighted(given[1 - place], inputs[place], _multiplied, 1)
        first, second = given
        if first.literals is not None and second.literals is not None:
            return self._conjunction(first.literals, second.literals)
        low, high = _corners((first.low, first.high), (second.low, second.high))
        proved = _corners(first.proved, second.proved)
        if len({self._roots.get(each, (each, 1.0))[0] for each in inputs}) == 1:
            # A square, times a positive number; a rounding on the way changes no sign.
            low, proved = np.maximum(low, 0), (np.maximum(proved[0], 0), proved[1])
            low, high = (
                np.where((first.low <= 0) & (first.high >= 0), 0, low),
                np.maximum(low, high),
            )
        found = self._both(first, second, _multiplied, 1)
        slack = np.maximum(np.abs(low), np.abs(high)) * 2**-20
        least = np.where(low == 0, 0, low - slack)
        found = _Bounds.of(found.value, found.error, least, high + slack)
        return dataclasses.replace(found, least=proved[0], most=proved[1])

    def _matrices(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        inputs, count = step.value.inputs, given[0].low.shape[-1]
        if self._is_constant(inputs[1]):
            if given[0].literals is not None and given[0].low.size == count:
                return self._chosen(given[0], inputs[1])
            return self._weighted(given[0], inputs[1], np.matmul, count)
        if self._is_constant(inputs[0]):
            return self._weighted(given[1], inputs[0], lambda x, w: np.matmul(w, x), count)
        return self._both(given[0], given[1], np.matmul, count)

    def _convolve(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        value = step.value
        count = math.prod(self._values[value.inputs[1]].shape[1:])

        def product(x: Floats, kernel: Floats) -> Floats:
            return np.asarray(convolved(value, np.matmul, x, kernel[0]))

        found = self._weighted(given[0], value.inputs[1], product, count)
        bias = self._of(value.inputs[2])
        rank = found.low.ndim
        spread = _each(bias, lambda a: a.reshape(len(a), 1, -1, *(1,) * (rank - 3)))
        low, high = found.low + spread.low, found.high + spread.high
        error, value_ = self._floats(
            found.error.plus(_broad(spread.error, found.low)),
            found.value.plus(_broad(spread.value, found.low)),
            np.maximum(np.abs(low), np.abs(high)),
        )
        return _Bounds.of(value_, error, low, high)

    def _weighted(
        self,
        x: _Bounds,
        constant: int,
        product: Callable[[Floats, Floats], Floats],
        count: int,
    ) -> _Bounds:
        """A product, of ``count`` terms for each result, with a constant."""
        exact, apart, doubt = self._parts(constant)
        weights, size = exact + apart, x.size
        positive, negative = np.maximum(exact, 0), np.minimum(exact, 0)
        doubtful = product(size, doubt)
        low = product(x.low, positive) + product(x.high, negative) - doubtful
        high = product(x.high, positive) + product(x.low, negative) + doubtful
        error_terms, value_terms = padded(x.error, x.value)
        error = Form(
            product(error_terms, weights) + product(value_terms, apart),
            product(x.error.rest, np.abs(weights))
            + product(x.value.rest, np.abs(apart))
            + doubtful,
        )
        value = Form(product(x.value.terms, exact), product(x.value.rest, np.abs(exact)) + doubtful)
        sizes = product(size, np.abs(exact))
        error, value = self._floats(error, value, sizes, count)
        slack = _MORE * count * _FLOAT * sizes
        return _Bounds.of(value, error, low - slack, high + slack)

    def _both(
        self,
        first: _Bounds,
        second: _Bounds,
        product: Callable[[Floats, Floats], Floats],
        count: int,
    ) -> _Bounds:
        """A product of two tensors that the input decides."""
        one, other = first.middle, second.middle
        reach = (first.reach, second.reach)
        errors = first.error.most, second.error.most
        terms = padded(first.error, second.error, first.value, second.value)
        error = Form(
            product(one, terms[1]) + product(terms[0], other),
            product(np.abs(one), second.error.rest) + product(first.error.rest, np.abs(other)),
        )
        crossed = product(reach[0], errors[1]) + product(errors[0], reach[1])
        error = error.plus(self._symbols.new(crossed + product(errors[0], errors[1])))
        centred = terms[3].copy()
        centred[:1] -= other
        value = Form(
            product(one, centred) + product(terms[2], other),
            product(np.abs(one), second.value.rest)
            + product(first.value.rest, np.abs(other))
            + product(reach[0], reach[1]),
        )
        size = product(first.size, second.size)
        error, value = self._floats(error, value, size, count)
        around = product(np.abs(one), reach[1]) + product(reach[0], np.abs(other))
        around = around + product(reach[0], reach[1]) + _MORE * count * _FLOAT * size
        middle = product(one, other)
        return _Bounds.of(value, error, middle - around, middle + around)

    # --- bits -------------------------------------------------------------------------------------

    def _chosen(self, bits: _Bounds, constant: int) -> _Bounds:
        """Rows of a constant added up where bits are set, which exclude each other in groups."""
        exact, apart, doubt = self._parts(constant)
        literals = bits.literals
        if literals is None:
            raise Unmodelled("MatMul")
        weights, off, doubts = (each.reshape(each.shape[-2:]) for each in (exact, apart, doubt))
        groups = _exclusive(literals.reshape(len(literals), -1))
        sums = []
        for numbers in (weights - doubts, weights + doubts, off - doubts, off + doubts):
            least, most = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
            for members, exhaustive in groups:
                low, high = numbers[members].min(axis=0), numbers[members].max(axis=0)
                least += low if exhaustive else np.minimum(low, 0)
                most += high if exhaustive else np.maximum(high, 0)
            sums.append((least, most))
        shape = (*bits.low.shape[:-1], weights.shape[1])
        low, high, under, over = (
            each.reshape(shape) for each in (sums[0][0], sums[1][1], sums[2][0], sums[3][1])
        )
        value, error = (Form((a + b) / 2, (b - a) / 2) for a, b in ((low, high), (under, over)))
        size = np.zeros(weights.shape[1])
        for members, _ in groups:
            size += np.abs(weights[members]).max(axis=0)
        error, value = self._floats(error, value, size.reshape(shape), len(groups))
        slack = value.rest - (high - low) / 2
        return _Bounds.of(value, error, low - slack, high + slack)

    def _compare(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        first, second = given
        doubt = np.asarray(first.error.most + second.error.most)
        open_ = (first.high - second.low >= -doubt) & (first.low - second.high <= doubt)
        if first.is_exact and second.is_exact:
            open_ &= False
        for place in (0, 1):
            if given[place].is_exact and self._is_constant(step.value.inputs[1 - place]):
                open_ &= ~self._decided(step, place, given[place])
        self.margin = max(self.margin, float(np.where(open_, doubt, 0).max(initial=0)))
        return self._new_bits(open_.shape)

    def _new_bits(self, shape: tuple[int, ...]) -> _Bounds:
        """Bits that nothing is known of."""
        count = math.prod(shape)
        literals = np.zeros((self._tests + count, count), np.int8)
        literals[self._tests + np.arange(count), np.arange(count)] = 1
        self._tests += count
        return _bits(literals.reshape(-1, *shape[1:]))

    def _decided(self, step: Step, place: int, x: _Bounds) -> npt.NDArray[np.bool_]:
        """Whether a constant and what it is rounded to part the grid's numbers alike.

        ``x`` has the very numbers of the float model: whole ones, at the scale of its tensor.
        """
        operator, constant = step.value.operator, step.value.inputs[1 - place]
        exact = self._parts(constant)[0]
        known = exact * 2.0 ** self._arithmetic.scales[step.value.inputs[place]]
        steps = round(self._nudges[constant] / (2 * _FLOAT))
        known, proved = aligned(
            [
                known,
                self._arithmetic.constants[constant]
                * (step.factors[1 - place] / step.factors[place]),
            ]
        )
        scale = 2.0 ** self._arithmetic.scales[step.value.inputs[place]]
        least, most = x.low * scale, x.high * scale
        if operator == "Equal":
            same = (known == proved) & (steps == 0)
            return np.asarray(np.broadcast_to(same, np.broadcast_shapes(same.shape, x.low.shape)))
        # The first whole number on the far side of the constant.
        strict = (operator in ("Less", "GreaterOrEqual")) == (place == 0)
        reach: Callable[[Floats], Floats] = np.ceil if strict else _above
        # The model's constant may be some float32 steps nearer to zero.
        less = known * (1 - 2 * steps * _FLOAT)
        ends: list[Floats] = [np.asarray(reach(numbers)) for numbers in (known, less, proved)]
        same = (ends[0] == ends[2]) & (ends[1] == ends[2])
        below = np.logical_and.reduce([end <= least for end in ends])
        above = np.logical_and.reduce([end > most for end in ends])
        return np.asarray(same | below | above)

    def _step_of_difference(self, step: Step) -> Step | None:
        """The comparison that a table of ``Sigmoid`` at scale 0 stands for; None of a true one."""
        maker = self._steps.get(step.value.inputs[0])
        if step.value.operator != "Sigmoid" or step.given[0] != 0 or not self._is_planned:
            return None
        if maker is None or maker.value.operator != "Sub" or maker.divisor > 1:
            return None
        value = Value("GreaterOrEqual", maker.value.inputs, maker.value.shape, "b")
        return dataclasses.replace(maker, value=value)

    @property
    def _is_planned(self) -> bool:
        """Whether the file has an arithmetic of our own: constants of a negative scale."""
        return self._arithmetic.is_planned

    def _without_literal(self, step: Step, given: Sequence[_Bounds]) -> _Bounds | None:
        """What is left of bits where those of a further test are taken away; None of other sums."""
        first, second = given
        if step.value.operator != "Sub" or second.literals is None:
            return None
        below = first.literals
        if below is None:
            exact = self._is_constant(step.value.inputs[0]) and bool(
                (np.abs(first.value.centre + first.error.centre - 1) == 0).all()
                and (np.abs(first.value.centre - 1) < 2**-20).all()
            )
            if not exact:
                return None
            below = np.zeros((1, *second.low.shape[1:]), np.int8)
        most = max(len(below), len(second.literals))
        below, above = _padded(below, most), _padded(second.literals, most)
        if below.shape[1:] != above.shape[1:]:
            return None
        further = (above != 0) & (below == 0)
        if (further.sum(axis=0) != 1).any() or ((above != below) & ~further).any():
            return None
        return _bits(below - np.where(further, above, np.int8(0)))

    def _conjunction(self, *literals: Literals) -> _Bounds:
        most = max(map(len, literals))
        first, second = np.broadcast_arrays(*(_padded(each, most) for each in literals))
        if (first * second < 0).any():
            # Never set; nothing says so of bits.
            return self._new_bits((1, *first.shape[1:]))
        return _bits(np.where(first != 0, first, second))

    def _logic(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        if step.value.operator == "And" and all(each.literals is not None for each in given):
            return self._conjunction(*(g.literals for g in given if g.literals is not None))
        if step.value.operator == "Not" and given[0].literals is not None:
            literals = given[0].literals
            if (np.count_nonzero(literals, axis=0) == 1).all():
                return _bits(-literals)
        return self._new_bits(np.broadcast_shapes(*(each.low.shape for each in given)))

    def _where(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        bit, true, false = given
        shape = np.broadcast_shapes(*(each.low.shape for each in given))
        one, other = (_each(each, lambda a: np.broadcast_to(a, (len(a), *shape[1:])))
                      for each in (true, false))  # fmt: skip
        values = one.value.centre, other.value.centre
        constant = all(self._is_constant(each) for each in step.value.inputs[1:])
        exact = constant and one.is_exact and other.is_exact
        if exact and bit.literals is not None and (values[0] == 1).all() and not values[1].any():
            return _bits(np.broadcast_to(bit.literals, (len(bit.literals), *shape[1:])))
        forms = []
        for a, b in ((one.error, other.error), (one.value, other.value)):
            apart = a.plus(b, -1)
            middle = a.plus(b)
            half = np.full(shape, 0.5)
            forms.append(middle.times(half).widened(apart.most / 2))
        low, high = np.minimum(one.low, other.low), np.maximum(one.high, other.high)
        return _Bounds.of(forms[1], forms[0], low, high)

    def _round(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        """To whole numbers; those of numbers with an error are right outside the margin."""
        (x,) = given
        if step.value.operator == "Whole" and step.given[0] == 0 and x.is_exact:
            return x
        self.margin = max(self.margin, float(x.error.most.max(initial=0)))
        # A floor or a whole number is no greater, a ceiling less than one more.
        low, high = np.floor(x.low), np.ceil(x.high)
        return _Bounds(
            Form((low + high) / 2, (high - low) / 2), Form.exactly(np.zeros(low.shape)), low, high
        )

    # --- what is not linear -----------------------------------------------------------------------

    def _sloped(
        self,
        x: _Bounds,
        slopes: tuple[Floats, Floats],
        bounds: tuple[Floats, Floats],
        off: Floats | float,
        most: Floats | None = None,
    ) -> _Bounds:
        """A function whose slope is between two, and its results between bounds.

        ``off`` is what the circuit's result may be off by itself, and ``most`` bounds what an
        error of the argument makes of the result otherwise.
        """
        steep, wide = (slopes[0] + slopes[1]) / 2, (slopes[1] - slopes[0]) / 2
        size = x.error.most
        if most is not None:
            # The slope may be infinite.
            known = np.isfinite(wide) & (np.abs(steep) * size + wide * size <= most)
            steep, wide = np.where(known, steep, 0), np.where(known, wide, 0)
            own = np.where(known, wide * size, most)
        else:
            own = wide * size
        error = x.error.times(steep).plus(self._symbols.new(np.asarray(own + off)))
        low, high = bounds
        middle, reach = (low + high) / 2, (high - low) / 2
        value = Form(middle, np.zeros_like(middle)).plus(self._symbols.new(reach))
        return _Bounds.of(value, error, low, high)

    def _relu(self, x: _Bounds) -> _Bounds:
        least, most = x.hull
        slopes = np.where(least >= 0, 1.0, 0.0), np.where(most <= 0, 0.0, 1.0)
        bounds = np.maximum(x.low, 0), np.maximum(x.high, 0)
        return self._bent(x, slopes, bounds, 0)

    def _absolute(self, x: _Bounds) -> _Bounds:
        least, most = x.hull
        slopes = np.where(least >= 0, 1.0, -1.0), np.where(most <= 0, -1.0, 1.0)
        bounds = np.maximum(np.maximum(x.low, -x.high), 0), x.size
        return self._bent(x, slopes, bounds, -1)

    def _bent(
        self, x: _Bounds, slopes: tuple[Floats, Floats], bounds: tuple[Floats, Floats], below: int
    ) -> _Bounds:
        """Of the slopes ``below`` and 1, below and above zero."""
        found = self._sloped(x, slopes, bounds, 0.0)
        least, most = np.minimum(x.low, 0), np.maximum(x.high, 0)
        width = np.where(most > least, most - least, 1)
        # Between the line through both ends and the one beside it through zero.
        steep = (most - below * least) / width
        steep = np.where(most > least, steep, 0)
        gap = most - steep * most
        half = np.maximum(gap, 0) / 2
        value = x.value.times(steep).plus(Form(half, np.zeros_like(half)))
        value = value.plus(self._symbols.new(half))
        return _Bounds.of(value, found.error, *bounds)

    def _extreme(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        first, second = given
        better = np.maximum if step.value.operator == "Max" else np.minimum
        low, high = better(first.low, second.low), better(first.high, second.high)
        half = np.full(low.shape, 0.5)
        apart = first.error.plus(second.error, -1).most / 2
        error = first.error.plus(second.error).times(half).widened(apart)
        return _Bounds.of(Form((low + high) / 2, (high - low) / 2), error, low, high)

    def _look_up(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        (x,) = given
        comparison = self._step_of_difference(step)
        if comparison is not None:
            return self._compare(comparison, [self._of(each) for each in comparison.value.inputs])
        if step.value.operator == "HardSwish" and step.given[0] == 0 and self._is_planned:
            # A table of it, of whole numbers, is exactly a Relu.
            return self._relu(x)
        if step.value.operator == "Exp":
            slack = self._played.lacks(step.value.inputs[0])
            x = dataclasses.replace(x, most=np.minimum(x.most, slack))
        least, most = x.hull
        slopes, otherwise = _slopes(step.value, least, most, x.error.most)
        ends = [curve(step.value, each) for each in (x.low, x.high)]
        low, high = np.minimum(*ends), np.maximum(*ends)
        if step.value.operator == "HardSwish":
            low = np.minimum(low, np.where((x.low < 0) & (x.high > -3), -0.375, low))
        own = _CURVE * np.maximum(np.maximum(np.abs(low), np.abs(high)), 1)
        unit = 2.0 ** -step.given[0]
        off = unit / 2 + own
        if step.value.operator == "Exp":
            off = off + _BASE * np.maximum(np.abs(least), np.abs(most)) * np.exp(most)
        if step.value.operator == "Power":
            off = off + _exponent_doubt(step.value.settings["exponent"], least, most)
        found = self._sloped(x, slopes, (low - own, high + own), off, otherwise)
        if not np.isfinite(found.error.most).all():
            raise Unmodelled(step.value.operator)
        if step.value.operator in _RISING:
            proved = [curve(step.value, each) for each in x.proved]
            found = dataclasses.replace(
                found,
                least=proved[0] - unit / 2 - own,
                most=proved[1] + unit / 2 + own,
            )
        return found

    def _inverse(self, x: _Bounds, unit: float) -> _Bounds:
        least, most = x.hull
        if (least <= 0).any():
            raise Unmodelled("Reciprocal")
        bounds = (1 - _CURVE) / x.high, (1 + _CURVE) / x.low
        own = _CURVE * bounds[1]
        return self._sloped(x, (-1 / least**2, -1 / most**2), bounds, unit / 2 + own)

    def _root(self, x: _Bounds, unit: float) -> _Bounds:
        size = x.error.most
        least, most = (np.maximum(each, 0) for each in x.hull)
        bounds = np.sqrt(np.maximum(x.low, 0)), np.sqrt(np.maximum(x.high, 0))
        own = _CURVE * bounds[1]
        with np.errstate(divide="ignore"):
            slopes = 0.5 / np.sqrt(most), 0.5 / np.sqrt(least)
        found = self._sloped(
            x, slopes, (bounds[0] - own, bounds[1] + own), _ROOT * unit + own, np.sqrt(size)
        )
        return dataclasses.replace(found, low=np.maximum(found.low, 0))

    def _inverse_root(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        root = self._root(given[0], 2.0 ** -step.given[0])
        return self._inverse(root, _unit(step))

    def _mean_of_squares(self, step: Step, given: Sequence[_Bounds]) -> _Bounds:
        (x,) = given
        count = step.value.settings["count"]
        squares = self._both(x, x, _multiplied, 1)
        bounds = np.zeros_like(squares.low), np.asarray(x.size**2)
        squares = _Bounds.of(squares.value, squares.error, *bounds)
        mean = _scaled(self._total(step, [squares]), 1 / count)
        # Divided before the step's own division.
        off = np.full(mean.low.shape, 2.0 ** (-2 * step.given[0]) * (1 - 1 / count))
        return dataclasses.replace(mean, error=mean.error.plus(self._symbols.new(off)))


def _ends(form: Form) -> tuple[Floats, Floats]:
    """Least and greatest number of a form."""
    radius = form.radius
    return np.asarray(form.centre - radius), np.asarray(form.centre + radius)


def _unit(step: Step) -> float:
    """One, of the result's numbers."""
    return float(2.0**-step.scale)


def _corners(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Bounds of a product."""
    found = [a * b for a in first for b in second]
    return np.asarray(np.minimum.reduce(found)), np.asarray(np.maximum.reduce(found))


def _above(numbers: Floats) -> Floats:
    """The least whole numbers above."""
    return np.asarray(np.floor(numbers) + 1)


def _multiplied(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.multiply(*aligned([first, second])))


def _padded(literals: Literals, tests: int) -> Literals:
    return np.pad(literals, [(0, tests - len(literals))] + [(0, 0)] * (literals.ndim - 1))


def _bits(literals: Literals) -> _Bounds:
    """Bits that the circuit has right."""
    shape = (1, *literals.shape[1:])
    half, zero = np.full(shape, 0.5), np.zeros(shape)
    return _Bounds(Form(half, half), Form(zero, zero), zero, np.ones(shape), literals)


def _exclusive(literals: Literals) -> list[tuple[list[int], bool]]:
    """Groups of bits of which no two are set at once, and whether one of each always is.

    ``literals``: [tests, bits].
    """
    yes, no = (literals == 1).astype(np.float32), (literals == -1).astype(np.float32)
    clash = (yes.T @ no + no.T @ yes) > 0
    groups: list[list[int]] = []
    for bit in range(literals.shape[1]):
        for group in groups:
            if clash[bit, group].all():
                group.append(bit)
                break
        else:
            groups.append([bit])
    shares = 0.5 ** np.count_nonzero(literals, axis=0)
    return [(group, float(shares[group].sum()) == 1.0) for group in groups]


def _each(bounds: _Bounds, change: Callable[[Any], Any]) -> _Bounds:
    """What a change that moves or adds up rows of numbers makes of bounds."""
    return _Bounds(
        bounds.value.changed(change),
        bounds.error.changed(change),
        change(bounds.low),
        change(bounds.high),
        least=change(np.broadcast_to(bounds.least, bounds.low.shape)),
        most=change(np.broadcast_to(bounds.most, bounds.low.shape)),
    )


def _broad(form: Form, like: Floats) -> Form:
    return form.changed(lambda a: np.broadcast_to(a, (len(a), *like.shape[1:])))


def _scaled(bounds: _Bounds, factor: float) -> _Bounds:
    """Times a positive number."""
    whole = np.full((1,) * bounds.low.ndim, factor)
    return _Bounds(
        bounds.value.times(whole),
        bounds.error.times(whole),
        bounds.low * factor,
        bounds.high * factor,
        bounds.literals if factor == 1 else None,
        bounds.least * factor,
        bounds.most * factor,
    )


def _negated(bounds: _Bounds) -> _Bounds:
    whole = np.full((1,) * bounds.low.ndim, -1.0)
    return _Bounds(
        bounds.value.times(whole),
        bounds.error.times(whole),
        -bounds.high,
        -bounds.low,
        least=-bounds.most,
        most=-bounds.least,
    )


def _slopes(
    value: Value, low: Floats, high: Floats, error: Floats
) -> tuple[tuple[Floats, Floats], Floats | None]:
    """Least and greatest slope of a curve between two numbers; another bound on its change."""
    operator = value.operator
    near, far = (
        np.where((low <= 0) & (high >= 0), 0, np.minimum(abs(low), abs(high))),
        np.maximum(abs(low), abs(high)),
    )
    if operator == "Exp":
        base = math.log(value.settings.get("base", math.e))
        if base <= 0:
            raise Unmodelled("Exp")
        return (base * np.exp(base * low), base * np.exp(base * high)), None
    if operator in ("Sigmoid", "Tanh", "Erf"):
        slope = {"Sigmoid": _sigmoid_slope, "Tanh": _tanh_slope, "Erf": _erf_slope}[operator]
        return (slope(far), slope(near)), None
    if operator == "HardSwish":
        return (np.full(low.shape, -0.5), np.full(low.shape, 1.5)), None
    if operator == "Log":
        if (low <= 0).any():
            raise Unmodelled("Log")
        return (1 / high, 1 / low), None
    exponent = value.settings["exponent"]
    positive = np.maximum(low, 0)
    with np.errstate(divide="ignore"):
        ends = [exponent * np.power(each, exponent - 1) for each in (positive, high)]
    if 0 < exponent < 1:
        return (ends[1], ends[0]), np.asarray(np.power(error, exponent))
    if (low <= 0).any():
        raise Unmodelled("Pow")
    return (np.minimum(*ends), np.maximum(*ends)), None


def _exponent_doubt(exponent: float, low: Floats, high: Floats) -> Floats:
    """What it makes of a power that the exponent may be one float32 off."""
    if exponent > 0:
        # The greatest of x**p |log x| below one, and its value at the upper end.
        most = np.maximum(high, 1)
        sizes = 1 / (exponent * math.e) + np.power(most, exponent) * np.log(most)
    else:
        sizes = np.power(low, exponent) * np.maximum(np.abs(np.log(low)), np.abs(np.log(high)))
    return np.asarray(2 * _FOLDED * max(1, abs(exponent)) * sizes)


def _sigmoid_slope(x: Floats) -> Floats:
    share = 1 / (1 + np.exp(-x))
    return np.asarray(share * (1 - share))


def _tanh_slope(x: Floats) -> Floats:
    return np.asarray(1 - np.tanh(x) ** 2)


def _erf_slope(x: Floats) -> Floats:
    return np.asarray(2 / math.sqrt(math.pi) * np.exp(-(x**2)))


def _nudges(arithmetic: Arithmetic) -> Mapping[int, float]:
    """By how much, relatively, constants of a planned file may have been moved apart.

    Of equal constants each is a float32 further from zero than the one before.
    """
    nudges: dict[int, float] = dict.fromkeys(arithmetic.constants, 0.0)
    if not arithmetic.is_planned:
        return nudges
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for position in arithmetic.constants:
        value = arithmetic.loaded.values[position]
        if value.kind == "f":
            by_shape.setdefault(value.shape, []).append(position)
    for positions in by_shape.values():
        arrays = [np.asarray(arithmetic.loaded.values[each].constant) for each in positions]
        near = len(arrays) * 2 * _FLOAT
        for position, array in zip(positions, arrays, strict=True):
            alike = sum(np.allclose(array, other, rtol=near, atol=0) for other in arrays)
            nudges[position] = (alike if alike > 1 or array.size == 1 else 0) * 2 * _FLOAT
    return nudges
