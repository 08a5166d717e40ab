"""What the search considered, as the data and the picture that stay in the bundle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oracle.circuits import bundle as files
from oracle.circuits import plot
from oracle.circuits.cost import Objective
from oracle.circuits.judge import Candidate
from oracle.circuits.make import Made
from oracle.circuits.plot import Point
from oracle.circuits.tuner import Found

Json = dict[str, Any]

#: Candidates that are listed; the worse ones say nothing new.
_LISTED = 100


def write(
    folder: Path, found: Found, measured: Sequence[Made], chosen: Made, objective: Objective
) -> None:
    """Write `bundle.CANDIDATES` and `bundle.PLOT` into ``folder``."""
    table = candidates(found, measured, chosen)
    values = {"objective": objective, "candidates": table, "notes": list(found.notes)}
    text = json.dumps(values, indent=2, allow_nan=False)
    (folder / files.CANDIDATES).write_text(text + "\n")
    (folder / files.PLOT).write_text(plot.pareto([_point(entry) for entry in table]))


def candidates(found: Found, measured: Sequence[Made], chosen: Made) -> list[Json]:
    """The table of candidates, the best estimate first.

    Each has its ``shape``, ``scale`` (None if the search did not come to it), ``estimate``, what
    was ``measured`` (None if it was not built) and its ``outcome``.
    """
    built = {made.candidate: made for made in measured}
    examined = [c for c in found.candidates if c.scale is not None]
    others = [c for c in found.candidates if c.scale is None]
    listed = {*[*examined, *others][:_LISTED]}
    return [
        _entry(candidate, built.get(candidate), chosen)
        for candidate in dict.fromkeys(found.candidates)
        if candidate in listed
    ]


def _entry(candidate: Candidate, made: Made | None, chosen: Made) -> Json:
    outcome = candidate.outcome
    if made is not None:
        outcome = "chosen" if made is chosen else "measured, not the best"
    return {
        "shape": dataclasses.asdict(candidate.shape),
        "scale": candidate.scale,
        "estimate": dataclasses.asdict(candidate.estimate),
        "measured": None
        if made is None
        else {
            "prove_seconds": made.measures.prove_seconds,
            "gas": made.measures.verify_gas,
            "verifier_bytes": made.measures.verifier_code_bytes,
            "proof_bytes": made.measures.proof_bytes,
            "key_bytes": made.measures.proving_key_bytes,
            "memory_bytes": made.measures.prove_memory_bytes,
        },
        "outcome": outcome,
    }


def _point(entry: Json) -> Point:
    measured = entry["measured"]
    known = measured or entry["estimate"]
    shape = entry["shape"]
    return Point(
        seconds=known["prove_seconds"],
        gas=known["gas"],
        label=f"2^{shape['logrows']} x {shape['columns']}",
        measured=measured is not None,
        chosen=entry["outcome"] == "chosen",
    )
