"""A model card: what a bundle is, what it promises and what supports it, for people to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oracle.circuits.bundle import Measures, Origin, Stated, sizes
from oracle.circuits.promise import Kind
from oracle.types import ModelSpec

#: Ranges that are listed; all are in the manifest.
_LISTED = 32
_HASHED = " (`oracle model inspect` says it of a file; with data files beside it, the hash of all their hashes)"


def card(
    name: str, spec: ModelSpec, origin: Origin, stated: Stated, measures: Sequence[Measures]
) -> str:
    """The card as Markdown.

    Args:
        name: of the model.
        spec: what is registered.
        origin: what it was built from.
        stated: what it says of its answers.
        measures: of each circuit, by ascending size.
    """
    parts = (
        [f"# {name}", "", *promise(origin, stated), ""],
        ["## Answers", "", *_answers(origin), ""],
        ["## Inputs", "", *_inputs(origin, stated), ""],
        ["## Circuits", "", *_circuits(spec, measures), ""],
        [f"Built from the file with SHA-256 `{origin.file_hash.hex()}`{_HASHED}.", ""],
    )
    return "\n".join(line for part in parts for line in part)


def promise(origin: Origin, stated: Stated) -> Iterator[str]:
    """What is promised, a paragraph a line."""
    errors, bound = stated.errors, origin.max_error
    if stated.kind == Kind.SAMPLES:
        yield (
            f"**Promised for no input.** Measured on samples alone: at most {errors.measured:.6f} from "
            "the publisher's file. Inputs of the ranges below are accepted, whatever comes of them."
        )
    elif errors.certified is not None and errors.certified <= bound:
        yield (
            f"For every input of the ranges below a proved answer is within **{bound:g}** of the "
            f"publisher's file: certified, no accepted proof is further off than {errors.certified:.6f}; "
            f"measured {errors.measured:.6f} on {errors.rows:,} rows that tried to break it."
        )
    else:
        yield (
            f"For every input of the ranges below a proved answer is within **{bound:g}** of the "
            f"publisher's file: measured, not certified: {errors.measured:.6f} at most on "
            f"{errors.rows:,} rows that tried to break it."
        )
    if stated.margin:
        yield ""
        yield (
            f"Where compared numbers differ by {stated.margin:.3g} or less, an answer may jump otherwise "
            f"than the model's; {stated.near:.1%} of the samples lie that near."
        )
    yield ""
    yield (
        "Rounding an input to what a request carries changes the file's own scores by "
        f"{errors.rounding:.6f} at most on {errors.rounded:,} samples; no error above has it."
    )
    for said in (*stated.narrowed, *stated.warnings):
        yield ""
        yield f"Note: {said}."


def _answers(origin: Origin) -> Iterator[str]:
    yield f"- published: {origin.reveal}"
    for tensor in origin.outputs:
        yield f"- `{tensor.name}`: {tensor.dtype} {list(tensor.shape)}"
    if origin.labels:
        yield f"- classes, by index: {', '.join(origin.labels)}"


def _inputs(origin: Origin, stated: Stated) -> Iterator[str]:
    for tensor in origin.inputs:
        yield f"- `{tensor.name}`: {tensor.dtype} {list(tensor.shape)}"
    yield ""
    if len(set(stated.ranges)) == 1:
        (each, *_) = stated.ranges
        yield f"Each of {len(stated.ranges)} numbers from {each.low:g} to {each.high:g}."
        return
    yield "| position | from | to |"
    yield "|---|---|---|"
    for position, each in enumerate(stated.ranges[:_LISTED]):
        yield f"| {position} | {each.low:g} | {each.high:g} |"
    if len(stated.ranges) > _LISTED:
        yield f"| ... {len(stated.ranges) - _LISTED} more in `manifest.json` | | |"


def _circuits(spec: ModelSpec, measures: Sequence[Measures]) -> Iterator[str]:
    yield "| rows of a proof | height | gas to verify | seconds to prove | MiB |"
    yield "|---|---|---|---|---|"
    for size, each in zip(sizes(spec), measures, strict=True):
        yield (
            f"| {size} | 2^{each.logrows} | {each.verify_gas:,} | {each.prove_seconds:.2f} | "
            f"{each.prove_memory_bytes / 2**20:,.0f} |"
        )
