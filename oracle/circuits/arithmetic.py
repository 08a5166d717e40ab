"""A circuit's arithmetic in numpy: the integers that ezkl's witness has, for thousands of rows.

Every tensor is whole numbers and a scale, its fractional bits. Inputs and constants are rounded to
theirs, half away from zero; a product's scale is the sum of its factors'. What passes the limit is
divided down to it. The witness rounds that quotient half away from zero, but the circuit accepts
any that is less than one away: with a generator of random numbers `Arithmetic.evaluate` takes one
of those.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits.loaded import (
    COMPARISONS,
    MOVES,
    TABLES,
    Loaded,
    Unmodelled,
    Value,
    aligned,
    convolved,
    load,
    moved,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.bool_]

#: Larger numbers are taken for too large; int64 holds the sum of two such.
_MOST = 2**62
#: Up to here float64 holds every whole number, and multiplies matrices faster.
_EXACT = 2**53
#: What ezkl adds to a zero before it divides by it.
_EPSILON = 2.0**-52
#: Its base of exponentials, a float32.
_E = float(np.float32(math.e))
#: Operators whose arguments get one scale first, and which of them do.
_ALIKE: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys((*COMPARISONS, "Add", "Max", "Min", "Sub"), (0, 1)),
    "Where": (1, 2),
}
_LOGIC = frozenset({"And", "Not", "Or", "Xor"})
_ROUNDINGS = frozenset({"Ceil", "Floor", "Round", "Whole"})


@dataclass(frozen=True, slots=True)
class Step:
    """An operator with the scales that the circuit gives it."""

    #: Of its result, in `Loaded.values`.
    position: int
    value: Value
    #: What each argument's numbers are multiplied by first: powers of two.
    factors: tuple[int, ...]
    #: Fractional bits of the arguments, after that.
    given: tuple[int, ...]
    #: Fractional bits of the result, after the division.
    scale: int
    #: What the result is divided by: a power of two, 1 where it is not.
    divisor: int


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a circuit computes of rows."""

    #: Numbers of the outputs, int64 [n, outputs]; meaningless in rows that overflow.
    outputs: Integers
    #: The largest absolute number that the circuit takes apart into digits.
    greatest: int
    #: Least and greatest number that is looked up, and zero; of rows that overflow too.
    lookups: tuple[int, int]
    #: Rows [n] that the circuit cannot take: a number has too many digits, or is in no table. So
    #: has one of 62 bits and more, wherever it is.
    overflow: Bits


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The arithmetic of a model file under run arguments; `of` makes it."""

    loaded: Loaded
    steps: tuple[Step, ...]
    #: Fractional bits of every tensor and constant, by position.
    scales: Mapping[int, int]
    #: The constants' whole numbers.
    constants: Mapping[int, Integers]
    #: Numbers that are taken apart are below this; the digits, and the tables' range.
    bound: int
    legs: int
    lookup_range: tuple[int, int]
    #: Whether the file has an arithmetic of our own: its constants have a negative scale.
    is_planned: bool
    #: When each position was used last: the step's number.
    _last: Mapping[int, int]

    @classmethod
    def of(cls, model: bytes, run_args: Mapping[str, Any]) -> Arithmetic:
        """The arithmetic of a model file, as it is proved.

        Args:
            model: in core operators, for one row. A tag, which is taken apart too, is not looked at.
            run_args: what ezkl is asked for; scales, base and legs, multiplier, lookup range.

        Raises:
            Unmodelled: it has an operator, or a form of one, that is not known here.
        """
        loaded = load(model)
        scaler = _Scaler(loaded, run_args)
        steps = tuple(scaler.step(position) for position in loaded.order)
        last = {each: number for number, step in enumerate(steps) for each in step.value.inputs}
        constants = {
            position: _quantized(loaded.values[position], scaler.scales[position])
            for position in loaded.uses
        }
        least, most = run_args["lookup_range"]
        legs = run_args["decomp_legs"]
        return cls(
            loaded,
            steps,
            scaler.scales,
            constants,
            run_args["decomp_base"] ** legs,
            legs,
            (least, most),
            run_args["param_scale"] < 0,
            {each: number for each, number in last.items() if each not in loaded.outputs},
        )

    @property
    def vanished(self) -> int:
        """How many numbers of constants are zero here, and not in the file."""
        values = self.loaded.values
        return sum(
            int(np.count_nonzero((numbers == 0) & (values[position].constant != 0)))
            for position, numbers in self.constants.items()
            if values[position].kind == "f"
        )

    @property
    def input_scale(self) -> int:
        """Fractional bits of the input."""
        return self.scales[self.loaded.input]

    @property
    def output_scale(self) -> int:
        """Fractional bits of the first output."""
        return self.scales[self.loaded.outputs[0]]

    def up_to(self, tensor: str) -> Arithmetic | None:
        """The same arithmetic as far as a tensor of the file; None if it is no result of it."""
        position = self.loaded.names.get(tensor)
        places = [step.position for step in self.steps]
        if position not in places:
            return None
        return dataclasses.replace(
            self,
            loaded=dataclasses.replace(self.loaded, outputs=(position,)),
            steps=self.steps[: places.index(position) + 1],
            _last={each: last for each, last in self._last.items() if each != position},
        )

    def evaluate(self, rows: Integers, rng: np.random.Generator | None = None) -> Evaluated:
        """The circuit's outputs of rows.

        Args:
            rows: numbers of the inputs, int64 [n, inputs], in absolute value below 2**62.
            rng: chooses every quotient among those that the circuit accepts; without it they are
                the witness's.
        """
        run = _Run(self, len(rows), rng)
        shape = self.loaded.values[self.loaded.input].shape
        found: dict[int, Integers] = {self.loaded.input: rows.reshape(len(rows), *shape)}
        run.check(found[self.loaded.input])
        for number, step in enumerate(self.steps):
            arguments = [
                self.constants[each] if each in self.constants else found[each]
                for each in step.value.inputs
            ]
            found[step.position] = run.step(step, arguments)
            for each in step.value.inputs:
                if self._last.get(each) == number:
                    found.pop(each, None)
        outputs = []
        for position in self.loaded.outputs:
            numbers = found[position] if position in found else self.constants[position]
            run.check(numbers)
            outputs.append(np.broadcast_to(numbers, (len(rows), *numbers.shape[1:])))
        flat = np.concatenate([each.reshape(len(rows), -1) for each in outputs], axis=1)
        return Evaluated(flat, run.greatest, (run.least, run.most), run.overflow)


def half_away(values: Floats) -> Floats:
    """Rounded to whole numbers, halves away from zero."""
    whole = np.trunc(values)
    with np.errstate(invalid="ignore"):
        left = np.abs(values - whole)
    return np.asarray(whole + np.copysign(left >= 0.5, values), np.float64)


def _quantized(value: Value, scale: int) -> Integers:
    """A constant's numbers, [1, *shape]."""
    if value.constant is None:
        raise Unmodelled(value.operator)
    scaled = half_away(np.ldexp(value.constant.astype(np.float64), scale))
    if not (np.abs(scaled) < _MOST).all():
        raise Unmodelled("Constant")
    return scaled.astype(np.int64)[np.newaxis]


class _Scaler:
    """Gives every operator its scales, in order: a constant's may depend on what was before."""

    def __init__(self, loaded: Loaded, run_args: Mapping[str, Any]) -> None:
        self._loaded = loaded
        self._finest = max(run_args["input_scale"], run_args["param_scale"])
        self._limit = self._finest * run_args["scale_rebase_multiplier"]
        self._uses = Counter(loaded.uses)
        self.scales = {
            position: run_args["param_scale"] if loaded.values[position].kind == "f" else 0
            for position in loaded.uses
        }
        # Whole numbers have no fractional bits.
        is_real = loaded.values[loaded.input].kind == "f"
        self.scales[loaded.input] = run_args["input_scale"] if is_real else 0

    def step(self, position: int) -> Step:
        value = self._loaded.values[position]
        shifted = self._shifted(value)
        if shifted is not None:
            place, shift = shifted
            source = value.inputs[place]
            self._uses[value.inputs[1 - place]] -= 1
            self.scales[position] = self.scales[source] + shift
            same = Value("Identity", (source,), value.shape, value.kind)
            return Step(position, same, (1,), (self.scales[source],), self.scales[position], 1)
        factors = self._factors(value)
        given = [
            self.scales[each] + factor.bit_length() - 1
            for each, factor in zip(value.inputs, factors, strict=True)
        ]
        if value.operator == "Conv" and given[2] != given[0] + given[1]:
            given[2] = self.scales[value.inputs[2]] = given[0] + given[1]
        scale = self._result(value, given)
        excess = 0
        exact = value.operator == "Identity" or (value.operator == "Whole" and given[0] == 0)
        if not exact and scale > self._limit:
            excess = scale - self._limit
        self.scales[position] = scale - excess
        return Step(position, value, factors, tuple(given), scale - excess, 1 << excess)

    def _shifted(self, value: Value) -> tuple[int, int] | None:
        """Which argument a product with a power of two below one leaves as it is, and the bits.

        Such a product changes the scale alone. None of any other operator.
        """
        if value.operator != "Mul":
            return None
        for place, each in enumerate(value.inputs):
            known = self._loaded.values[each].constant
            if known is None or known.size != 1 or not 0 < known.flat[0] < 1:
                continue
            bits = float(np.log2(np.float32(1) / known.flat[0]))
            if bits.is_integer():
                return 1 - place, int(bits)
        return None

    def _factors(self, value: Value) -> tuple[int, ...]:
        """What brings the arguments to one scale; a constant of one use takes it itself."""
        inputs = value.inputs
        places = (
            range(len(inputs)) if value.operator == "Concat" else _ALIKE.get(value.operator, ())
        )
        for place in places:
            each, finest = inputs[place], max(self.scales[other] for other in inputs)
            if self._uses[each] == 1 and finest > self.scales[each]:
                self.scales[each] = finest
        if len({self.scales[inputs[place]] for place in places}) < 2:
            return (1,) * len(inputs)
        # Of all arguments, a condition's too.
        finest = max(self.scales[each] for each in inputs)
        return tuple(
            1 << finest - self.scales[each] if place in places else 1
            for place, each in enumerate(inputs)
        )

    def _result(self, value: Value, given: Sequence[int]) -> int:
        operator = value.operator
        if operator in COMPARISONS or operator in _LOGIC:
            return 0
        if operator in ("Conv", "MatMul", "Mul"):
            return given[0] + given[1]
        if operator == "MeanOfSquares":
            return 2 * given[0]
        if operator in ("InverseRoot", "Reciprocal"):
            self._require_fraction(value, given)
            return int(max(self._finest, given[0]))
        if operator in _ROUNDINGS or operator == "Sqrt":
            self._require_fraction(value, given)
        return given[1] if operator == "Where" else given[0]

    @staticmethod
    def _require_fraction(value: Value, given: Sequence[int]) -> None:
        if given[0] < 0:
            raise Unmodelled(value.operator)


class _Run:
    """One evaluation: what it has met so far."""

    def __init__(self, arithmetic: Arithmetic, rows: int, rng: np.random.Generator | None) -> None:
        self._arithmetic = arithmetic
        self._rng = rng
        self.overflow = np.zeros(rows, np.bool_)
        self.greatest = 0
        self.least = self.most = 0
        self._rules: Mapping[str, Callable[[Step, Sequence[Integers]], Integers]] = {
            **dict.fromkeys(MOVES, lambda step, given: np.asarray(moved(step.value, given))),
            **dict.fromkeys(TABLES, self._look_up),
            **dict.fromkeys(COMPARISONS, self._compare),
            **dict.fromkeys(_LOGIC, self._logic),
            **dict.fromkeys(_ROUNDINGS, self._round),
            "Abs": lambda _, given: np.abs(self.check(given[0])),
            "Add": lambda _, given: given[0] + given[1],
            "Conv": self._convolve,
            "InverseRoot": self._inverse_root,
            "MatMul": lambda _, given: self.matrices(*given),
            "Max": self._extreme,
            "MeanOfSquares": self._mean_of_squares,
            "Min": self._extreme,
            "Mul": lambda _, given: self.product(*given),
            "Neg": lambda _, given: -given[0],
            "Pad": self._pad,
            "Reciprocal": self._reciprocal,
            "Relu": lambda _, given: np.maximum(self.check(given[0]), 0),
            "Sqrt": lambda step, given: self._root(given[0], step.given[0]),
            "Sub": lambda _, given: given[0] - given[1],
            "Sum": self._sum,
            "Where": lambda _, given: np.where(given[0] != 0, given[1], given[2]),
        }

    def _multiplied(self, numbers: Integers, factor: int) -> Integers:
        """Numbers times a power of two."""
        if factor < _MOST:
            return self.product(numbers, np.full((1,) * numbers.ndim, factor))
        # Scales so far apart leave room for nothing but zero.
        self.overflow |= _sizes(numbers) > 0
        return np.zeros_like(numbers)

    def step(self, step: Step, arguments: Sequence[Integers]) -> Integers:
        """The result [n, *shape] of an operator of arguments [n or 1, *shape]."""
        rule = self._rules.get(step.value.operator)
        if rule is None:
            raise Unmodelled(step.value.operator)
        given = [
            each if factor == 1 else self._multiplied(each, factor)
            for each, factor in zip(arguments, step.factors, strict=True)
        ]
        result = self._limited(rule(step, given))
        return result if step.divisor == 1 else self._divide(result, step.divisor)

    def check(self, numbers: Integers) -> Integers:
        """Numbers that are taken apart into digits."""
        sizes = _sizes(numbers)
        self.greatest = max(self.greatest, int(sizes.max(initial=0)))
        self.overflow |= sizes >= min(self._arithmetic.bound, _MOST)
        return numbers

    def product(self, first: Integers, second: Integers) -> Integers:
        """Element by element."""
        first, second = aligned([first, second])
        return self._bounded(np.multiply, first, second, _sizes(second).astype(np.float64))

    def matrices(self, first: Integers, second: Integers) -> Integers:
        """Products of the last two dimensions' matrices."""
        first, second = aligned([first, second])
        sums = np.abs(second).sum(axis=-2, dtype=np.float64)
        return self._bounded(_matmul, first, second, sums.reshape(len(second), -1).max(axis=1))

    def _bounded(
        self,
        multiply: Callable[[Integers, Integers], Integers],
        first: Integers,
        second: Integers,
        most: Floats,
    ) -> Integers:
        """A product whose numbers are below the first's sizes times ``most`` [n or 1]."""
        sizes = _sizes(first) * most
        large = sizes >= _MOST
        if large.any():
            self.overflow |= large
            one = large if len(first) == len(large) else np.zeros(len(first), np.bool_)
            other = large if len(first) != len(large) else np.zeros(len(second), np.bool_)
            first, second = _without(first, one), _without(second, other)
            sizes = np.where(large, 0, sizes)
        if multiply is _matmul and sizes.max(initial=0) < _EXACT:
            floats = np.matmul(first.astype(np.float64), second.astype(np.float64))
            return np.asarray(floats, np.int64)
        return multiply(first, second)

    def _limited(self, numbers: Integers) -> Integers:
        large = _sizes(numbers) >= _MOST
        if large.any():
            self.overflow |= large
            return _without(numbers, np.broadcast_to(large, len(numbers)))
        return numbers

    def _divide(self, numbers: Integers, divisor: int) -> Integers:
        """A quotient that the circuit accepts: less than one away."""
        if self._rng is None:
            quotients = half_away(numbers.astype(np.float64) / divisor).astype(np.int64)
        else:
            quotients, left = np.divmod(numbers, divisor)
            quotients += np.minimum(left, self._rng.integers(0, 2, left.shape))
        self.greatest = max(self.greatest, divisor)
        self.overflow |= divisor >= self._arithmetic.bound
        return self.check(quotients)

    # --- operators --------------------------------------------------------------------------------

    def _sum(self, step: Step, given: Sequence[Integers]) -> Integers:
        axes = tuple(axis + 1 for axis in step.value.settings["axes"])
        large = np.abs(given[0]).sum(axis=axes, keepdims=True, dtype=np.float64)
        over = large.reshape(len(large), -1).max(axis=1) >= _MOST
        self.overflow |= over
        return np.asarray(_without(given[0], over).sum(axis=axes, keepdims=True))

    def _pad(self, step: Step, given: Sequence[Integers]) -> Integers:
        return np.pad(given[0], ((0, 0), *step.value.settings["pads"]))

    def _convolve(self, step: Step, given: Sequence[Integers]) -> Integers:
        image, kernel, bias = given
        found = convolved(step.value, self.matrices, image, kernel[0])
        return np.asarray(found + bias.reshape(1, 1, -1, *(1,) * (found.ndim - 3)), np.int64)

    def _compare(self, step: Step, given: Sequence[Integers]) -> Integers:
        first, second = aligned(given)
        apart = first - second
        operator = step.value.operator
        if operator == "Equal":
            return np.asarray(apart == 0, np.int64)
        if operator.startswith("Less"):
            apart = -apart
        return np.asarray(self.check(apart + int(operator.endswith("OrEqual"))) > 0, np.int64)

    def _extreme(self, step: Step, given: Sequence[Integers]) -> Integers:
        first, second = aligned(given)
        self.check(first - second)
        better = np.maximum if step.value.operator == "Max" else np.minimum
        return np.asarray(better(first, second), np.int64)

    @staticmethod
    def _logic(step: Step, given: Sequence[Integers]) -> Integers:
        if step.value.operator == "Not":
            return 1 - given[0]
        first, second = aligned(given)
        both = first * second
        if step.value.operator == "And":
            return np.asarray(both, np.int64)
        return np.asarray(first + second - both * (1 + int(step.value.operator == "Xor")), np.int64)

    def _round(self, step: Step, given: Sequence[Integers]) -> Integers:
        """To whole numbers, by digits of base one."""
        (numbers,), (scale,) = given, step.given
        if step.value.operator == "Whole" and scale == 0:
            return numbers
        unit = self._unit(scale)
        self.overflow |= _sizes(numbers) >= min(unit**self._arithmetic.legs, _MOST)
        down, left = np.divmod(numbers, unit)
        if step.value.operator == "Ceil":
            down = down + (left > 0).astype(np.int64)
        elif step.value.operator == "Round":
            self.most = max(self.most, unit)
            up = (2 * left > unit) | ((2 * left == unit) & (down % 2 == 1))
            down = down + up.astype(np.int64)
        return np.asarray(down * unit)

    def _look_up(self, step: Step, given: Sequence[Integers]) -> Integers:
        (numbers,) = given
        flat = numbers.reshape(len(numbers), -1)
        least, most = flat.min(axis=1), flat.max(axis=1)
        self.least, self.most = (
            min(self.least, int(least.min(initial=0))),
            max(self.most, int(most.max(initial=0))),
        )
        low, high = self._arithmetic.lookup_range
        self.overflow |= (least < low) | (most > high)
        scale = 2.0 ** step.given[0]
        return self._whole(scale * curve(step.value, numbers / scale))

    def _whole(self, values: Floats) -> Integers:
        """Rounded; rows with numbers too large overflow, and what is no number counts as zero."""
        rounded = half_away(np.nan_to_num(values, posinf=np.inf, neginf=-np.inf))
        self.overflow |= (np.abs(rounded).reshape(len(rounded), -1) >= _MOST).any(axis=1)
        return np.where(np.abs(rounded) < _MOST, rounded, 0).astype(np.int64)

    def _reciprocal(self, step: Step, given: Sequence[Integers]) -> Integers:
        scale = step.scale + step.divisor.bit_length() - 1
        return self._inverse(given[0], step.given[0], scale)

    def _inverse_root(self, step: Step, given: Sequence[Integers]) -> Integers:
        scale = step.scale + step.divisor.bit_length() - 1
        return self._inverse(self._root(given[0], step.given[0]), step.given[0], scale)

    def _unit(self, bits: int) -> int:
        """Two to the power of ``bits``; no row is taken where that is too large."""
        if bits < _MOST.bit_length() - 1:
            return 1 << bits
        self.overflow |= True
        return 1

    def _inverse(self, numbers: Integers, scale: int, result: int) -> Integers:
        """The nearest number to the reciprocal; the circuit checks that its neighbours are not."""
        with np.errstate(divide="ignore"):
            exact = np.where(numbers == 0, 1 / _EPSILON, 1 / (numbers / 2.0**scale))
        found = self.check(self._whole(2.0**result * exact))
        unit = np.where(numbers == 0, 0, self._unit(scale + result))
        for moved_by in (-1, 0, 1):
            self.check(self.product(found + moved_by, numbers) - unit)
        return found

    def _root(self, numbers: Integers, scale: int) -> Integers:
        """The nearest number to the square root; that of a negative number is zero."""
        values = np.sqrt(np.maximum(numbers, 0) / 2.0**scale) * 2.0**scale
        found = self.check(self._whole(values))
        scaled = self.product(numbers, np.full((1,) * numbers.ndim, self._unit(scale)))
        for moved_by in (-1, 0, 1):
            near = found + moved_by
            self.check(self.product(near, near) - scaled)
        return found

    def _mean_of_squares(self, step: Step, given: Sequence[Integers]) -> Integers:
        squares = self.product(given[0], given[0])
        total = self._sum(step, [squares])
        count = step.value.settings["count"]
        return total if count == 1 else self._divide(total, count)


def curve(value: Value, x: Floats) -> Floats:
    """A looked-up function as ezkl computes it: float64, and what is undefined a NaN or infinite."""
    with np.errstate(all="ignore"):
        return np.asarray(_CURVES[value.operator](value, x), np.float64)


def _hard_swish(_: Value, x: Floats) -> Floats:
    return np.where(x <= -3, 0.0, np.where(x >= 3, x, x * (x + 3) / 6))


def _erf(_: Value, x: Floats) -> Floats:
    return np.asarray([math.erf(each) for each in x.ravel().tolist()]).reshape(x.shape)


_CURVES: Mapping[str, Callable[[Value, Floats], Floats]] = {
    "Erf": _erf,
    "Exp": lambda value, x: np.power(value.settings.get("base", _E), x),
    "HardSwish": _hard_swish,
    "Log": lambda _, x: np.log(x),
    "Power": lambda value, x: np.power(x, value.settings["exponent"]),
    "Sigmoid": lambda _, x: 1 / (1 + np.exp(-x)),
    "Tanh": lambda _, x: np.tanh(x),
}


def _matmul(first: Integers, second: Integers) -> Integers:
    return np.asarray(np.matmul(first, second), np.int64)


def _sizes(numbers: Integers) -> Integers:
    """The largest absolute number of each row, [n]."""
    return np.asarray(np.abs(numbers).reshape(len(numbers), -1).max(axis=1, initial=0), np.int64)


def _without(numbers: Integers, rows: Bits) -> Integers:
    """Zero in some rows."""
    if not rows.any():
        return numbers
    return np.where(rows.reshape(-1, *(1,) * (numbers.ndim - 1)), 0, numbers)
