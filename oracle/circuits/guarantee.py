"""What holds of a circuit for every promised input and every witness that it accepts.

`certified` bounds the numbers of a file as it is proved. Where a policy publishes what was compared,
that is a bound on how near two scores have to be for a proof to say the other: in the terms of
`Reveal.error`, the bound that a build was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oracle.circuits.arithmetic import Arithmetic
from oracle.circuits.certified import Certificate, certificate
from oracle.circuits.loaded import Unmodelled
from oracle.circuits.onnx import Model
from oracle.circuits.reveal import Kind, Reveal, keeps_gaps
from oracle.circuits.row import Range


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A bound and its condition."""

    #: As `Reveal.error`.
    error: float
    #: Compared numbers that differ by more decide as the float model does.
    margin: float


def arithmetic_of(path: Path, run_args: Mapping[str, Any]) -> Arithmetic | None:
    """Our own model of a circuit's arithmetic; None where it has something that is not modelled."""
    try:
        return Arithmetic.of(path.read_bytes(), run_args)
    except Unmodelled:
        return None


def guarantee(
    model: Model,
    scored: Model,
    reveal: Reveal,
    arithmetic: Arithmetic,
    ranges: Sequence[Range],
    most: float,
) -> Guarantee | None:
    """What is certain of a circuit; None where nothing is.

    Args:
        model: as it is proved.
        scored: before any reveal policy.
        reveal: the policy.
        arithmetic: of the model's file.
        ranges: promised numbers of each input.
        most: greatest margin that is of any use.
    """
    low, high = (np.array([getattr(each, side) for each in ranges]) for side in ("low", "high"))
    try:
        found = certificate(arithmetic, low, high)
    except Unmodelled:
        return None
    if found.margin and model.plan is not None:
        # A planned file compares multiples, by powers of two, of the model's numbers.
        return None
    return _of_policy(reveal, scored, found) if found.margin <= most else None


def _of_policy(reveal: Reveal, scored: Model, found: Certificate) -> Guarantee | None:
    if reveal.kind is Kind.FULL:
        return Guarantee(found.error, found.margin)
    if reveal.kind is Kind.THRESHOLD:
        return Guarantee(found.margin, found.margin)
    if reveal.kind is Kind.ROUND:
        margin = found.margin / 10**reveal.parameter
        return Guarantee(margin, margin)
    if not keeps_gaps(scored):
        return None
    return Guarantee(found.margin / 2, found.margin)
