"""Search for the cheapest circuit that is accurate enough.

ezkl's defaults are far from good: its decomposition base alone forces 2**15 rows. What matters,
measured: proving time and key size follow 2**logrows x columns, verification gas follows columns.
So: one column, the fewest rows that hold the circuit, then within those rows

- the largest base (a table of ``base`` rows fits wherever the circuit does), and
- as many legs as fit, because base**legs bounds every number in the circuit and room is free;

then the least scale that meets the error bound. A multiplier above 1 postpones the rescaling
after each product: fewer rows for larger numbers.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits.onnx import Model
from oracle.errors import CircuitInaccurate, ModelUnsupported
from oracle.prover.child import Sandbox
from oracle.tensor import dequantize, quantize
from oracle.types import TagLayout, TensorSpec

Floats = npt.NDArray[np.float64]

SCALES = (4, 6, 8, 10, 12, 14)
MULTIPLIERS = (1, 2, 4)
LEGS = (2, 3, 4, 5, 6, 7, 8)
#: Outputs fit a signed 64-bit integer.
MAX_BITS = 63
MAX_LOGROWS = 20
#: How far above the least size the search goes for room.
_SPARE_LOGROWS = 3
#: Lookup tables while their real range is being measured.
_WIDE_LOOKUPS = (-(1 << 17), 1 << 17)
#: Rows that the proof system keeps for blinding, with a reserve.
_BLINDING_ROWS = 16
#: The promised input range exceeds the samples' range by this share of it, on both sides.
_RANGE_MARGIN = 0.25
#: Probes reach this many times as far from the centre as the promised range.
_PROBE_REACH = 2.0
_RANDOM_PROBES = 16
#: The search asks for this share of the error bound, so that unseen samples meet the bound too.
_HEADROOM = 0.5
#: Samples that the search looks at; more cost time and change little.
_TUNING_SAMPLES = 32


@dataclass(frozen=True, slots=True)
class Tuned:
    """The circuit that was chosen."""

    #: ezkl's settings, normalised: the same for the same choice.
    settings: dict[str, Any]
    input: TensorSpec
    output: TensorSpec
    #: Greatest difference from the float model over samples that the search did not see.
    max_abs_error: float

    @property
    def logrows(self) -> int:
        """Base-two logarithm of the circuit's height."""
        return int(self.settings["run_args"]["logrows"])


@dataclass(frozen=True, slots=True)
class _Shape:
    """A size class: settings that cost the same to prove whatever the scale."""

    logrows: int
    multiplier: int
    legs: int

    @property
    def base(self) -> int:
        """Half the rows, so that the table and the blinding rows fit one column."""
        return 1 << (self.logrows - 1)

    @property
    def bits(self) -> int:
        """Every number in the circuit is below 2**bits in absolute value."""
        return (self.logrows - 1) * self.legs


def tune(
    model: Model,
    tagged: Path,
    samples: Floats,
    max_error: float,
    layout: TagLayout,
    sandbox: Sandbox,
) -> Tuned:
    """Choose settings for ``tagged``, the file of ``model`` with its tag input.

    Args:
        samples: real inputs, float [n, inputs], n >= 2. Odd rows only measure the result.
        max_error: bound on the absolute difference from the float model, per output.

    Raises:
        ModelUnsupported: ezkl cannot express the model.
        CircuitInaccurate: no candidate meets the bound and takes every probe.
    """
    seen, held_back = _thin(samples[0::2]), _thin(samples[1::2])
    rows = np.vstack([seen, held_back])
    expected = reference(tagged, model.input_name, model.output_name, rows, sandbox)
    low, high = _promised_range(samples)
    probes = _probes(low, high, model.input_length)
    best_error = float("inf")
    # Accuracy depends on scale and multiplier alone; room for large numbers shrinks with scale.
    inaccurate: set[tuple[int, int]] = set()
    too_small: set[_Shape] = set()
    for shape, scale in _candidates(_shapes(tagged, layout, sandbox)):
        if shape in too_small or (shape.multiplier, scale) in inaccurate:
            continue
        trial = _try(shape, scale, tagged, np.vstack([rows, probes]), layout, sandbox)
        if trial is None:
            too_small.add(shape)
            continue
        settings, outputs = trial
        errors = np.abs(outputs[: len(rows)] - expected).max(axis=1)
        error = float(errors[: len(seen)].max())
        best_error = min(best_error, error)
        if error > max_error * _HEADROOM:
            inaccurate.add((shape.multiplier, scale))
            continue
        # Held-back rows never steer the choice: where they disagree, the samples are too few.
        measured = float(errors[len(seen) :].max())
        if measured > max_error:
            raise CircuitInaccurate(
                f"error {measured:.3g} on held-back samples, {error:.3g} on the others, "
                f"allowed {max_error:g}",
                remedy="Give more samples or allow a larger error",
            )
        return _tuned(shape, settings, low, high, expected.shape[1], measured)
    raise CircuitInaccurate(
        f"no circuit met the error bound {max_error:g}"
        + (f"; the best had {best_error:.3g}" if np.isfinite(best_error) else ""),
        remedy="Allow a larger error, or scale inputs and activations to a smaller range",
    )


def reference(
    model: Path, input_name: str, output_name: str, rows: Floats, sandbox: Sandbox
) -> Floats:
    """onnxruntime's float outputs [n, outputs] for ``rows`` [n, inputs]; the tag is zero."""
    params = {
        "model": str(model.resolve()),
        "input": input_name,
        "output": output_name,
        "rows": rows.tolist(),
    }
    return np.asarray(sandbox.run("reference", params)["outputs"], dtype=np.float64)


def _shapes(tagged: Path, layout: TagLayout, sandbox: Sandbox) -> list[_Shape]:
    """Size classes that hold the circuit; of those that cost the same, the one with most legs."""
    grid = list(itertools.product(MULTIPLIERS, LEGS))
    # Rows depend on neither scale nor base, so any will do here.
    args = [_run_args(_Shape(11, multiplier, legs), SCALES[2]) for multiplier, legs in grid]
    answers = sandbox.run("settings", {"model": str(tagged), "run_args": args})["candidates"]
    found: dict[tuple[int, int], _Shape] = {}
    for (multiplier, legs), answer in zip(grid, answers, strict=True):
        if answer["settings"] is None:
            continue
        least = _logrows(answer["settings"])
        for logrows in range(least, min(least + _SPARE_LOGROWS, MAX_LOGROWS) + 1):
            shape = _Shape(logrows, multiplier, legs)
            if layout.bits <= shape.bits <= MAX_BITS:
                # The grid lists legs in rising order, so the last one to fit stays.
                found[logrows, multiplier] = shape
    if not found:
        reasons = [answer["reason"] for answer in answers if answer["settings"] is None]
        raise ModelUnsupported(
            f"the circuit compiler refused it: {reasons[0]}" if reasons else "the model is too big",
            remedy="Use core operators such as Gemm, MatMul, Add, Relu, or a smaller model",
        )
    return list(found.values())


def _candidates(shapes: Sequence[_Shape]) -> list[tuple[_Shape, int]]:
    """All choices, cheapest first."""
    return sorted(
        itertools.product(shapes, SCALES), key=lambda c: (c[0].logrows, c[1], c[0].multiplier)
    )


def _try(
    shape: _Shape,
    scale: int,
    tagged: Path,
    rows: Floats,
    layout: TagLayout,
    sandbox: Sandbox,
) -> tuple[dict[str, Any], Floats] | None:
    """Pinned settings and real outputs [n, outputs] for ``rows``, or None if a row does not fit."""
    settings = _settings(_run_args(shape, scale), tagged, sandbox)
    if settings is None:
        return None
    trial = _trial(settings, tagged, rows, layout, sandbox)
    if trial is None:
        return None
    outputs, lookups = trial
    if settings["required_lookups"]:
        # The probes reached further than any promised input, so what they looked up is enough.
        if lookups[1] - lookups[0] + _BLINDING_ROWS > 1 << shape.logrows:
            return None
        settings = _settings(_run_args(shape, scale) | {"lookup_range": lookups}, tagged, sandbox)
        if settings is None or _trial(settings, tagged, rows, layout, sandbox) is None:
            return None
    return settings, outputs


def _settings(run_args: dict[str, Any], tagged: Path, sandbox: Sandbox) -> dict[str, Any] | None:
    params = {"model": str(tagged), "run_args": [run_args]}
    found = sandbox.run("settings", params)["candidates"][0]["settings"]
    return None if found is None else _normalised(found)


def _trial(
    settings: dict[str, Any], tagged: Path, rows: Floats, layout: TagLayout, sandbox: Sandbox
) -> tuple[Floats, list[int]] | None:
    scale = settings["model_input_scales"][0]
    params = {
        "model": str(tagged),
        "settings": settings,
        "rows": [[quantize(value, scale) for value in row] for row in rows.tolist()],
        "tag": [(1 << layout.bits) - 1] * layout.limbs,
    }
    found = sandbox.run("trial", params)
    if None in found["outputs"]:
        return None
    output_scale = settings["model_output_scales"][0]
    outputs = [[dequantize(v, output_scale) for v in row] for row in found["outputs"]]
    return np.asarray(outputs, dtype=np.float64), found["lookups"]


def _tuned(
    shape: _Shape,
    settings: dict[str, Any],
    low: float,
    high: float,
    outputs: int,
    max_abs_error: float,
) -> Tuned:
    inputs = math.prod(settings["model_instance_shapes"][0])
    scale = settings["model_input_scales"][0]
    minimum, maximum = quantize(low, scale), quantize(high, scale)
    # The circuit range-checks its outputs against base**legs: what it proves, this range holds.
    bound = (1 << shape.bits) - 1
    return Tuned(
        settings=settings,
        input=TensorSpec(inputs, _width(minimum, maximum), scale, minimum, maximum),
        output=TensorSpec(
            outputs, _width(-bound, bound), settings["model_output_scales"][0], -bound, bound
        ),
        max_abs_error=max_abs_error,
    )


def _run_args(shape: _Shape, scale: int) -> dict[str, Any]:
    return {
        "input_visibility": "public",
        "output_visibility": "public",
        # Fixed binds the weights in the verifying key; private would let a prover choose them.
        "param_visibility": "fixed",
        "input_scale": scale,
        "param_scale": scale,
        "scale_rebase_multiplier": shape.multiplier,
        "decomp_base": shape.base,
        "decomp_legs": shape.legs,
        "logrows": shape.logrows,
        "num_inner_cols": 1,
        # Its random challenges cost columns, and columns cost gas.
        "disable_freivalds": True,
        "lookup_range": _WIDE_LOOKUPS,
    }


def _normalised(settings: dict[str, Any]) -> dict[str, Any]:
    """ezkl lists range checks and lookups in random order, and their order decides the key."""
    return settings | {
        "required_range_checks": sorted(settings["required_range_checks"]),
        "required_lookups": sorted(settings["required_lookups"], key=_canonical),
        "timestamp": 0,
    }


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _logrows(settings: dict[str, Any]) -> int:
    """The least size that holds the circuit's rows and its instances."""
    instances = sum(math.prod(shape) for shape in settings["model_instance_shapes"])
    rows = max(settings["num_rows"], settings["total_const_size"], instances)
    return int(rows + _BLINDING_ROWS - 1).bit_length()


def _width(minimum: int, maximum: int) -> int:
    """Bytes of the two's complement that holds both."""
    return max((~minimum).bit_length() if minimum < 0 else 0, maximum.bit_length()) // 8 + 1


def _promised_range(samples: Floats) -> tuple[float, float]:
    low, high = float(samples.min()), float(samples.max())
    margin = _RANGE_MARGIN * (high - low)
    return low - margin, high + margin


def _probes(low: float, high: float, length: int) -> Floats:
    """Inputs beyond the promised range, float [n, length]: its corners, then random ones."""
    centre, reach = (low + high) / 2, _PROBE_REACH * (high - low) / 2
    alternating = np.where(np.arange(length) % 2 == 0, 1.0, -1.0)
    corners = np.vstack([np.ones(length), -np.ones(length), alternating, -alternating])
    # Seeded: the same model and samples must give the same circuit.
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(_RANDOM_PROBES, length))
    return np.asarray(centre + reach * np.vstack([corners, signs]), dtype=np.float64)


def _thin(rows: Floats) -> Floats:
    """At most `_TUNING_SAMPLES` rows, evenly spread."""
    step = -(-len(rows) // _TUNING_SAMPLES)
    return rows[::step]
