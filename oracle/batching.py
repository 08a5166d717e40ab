"""Which requests of a model are proved together. Pure.

A batch circuit proves several requests for little more gas than one, but takes longer: requests
that wait for a worker anyway are joined, others only as long as the operator lets them wait, and
none whose deadline is near or whose money does not pay for its own part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oracle import fees, tensor
from oracle.policy import ServedCircuit, Situation, Skip, common_sizes, fitting, in_time
from oracle.store.records import RequestRow
from oracle.types import RegisteredModel


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows."""

    #: How long a request may wait for others.
    wait_seconds: float
    #: Most requests of one proof.
    max_requests: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is queued now; the rest waits."""

    batches: tuple[tuple[RequestRow, ...], ...]
    alone: tuple[RequestRow, ...]


def plan(rows: Sequence[RequestRow], situation: Situation, limits: Limits, *, hold: bool) -> Plan:
    """Join requests of one model.

    Args:
        rows: ACCEPTED requests of one model, oldest first.
        situation: the model's, as in `oracle.policy.decide`.
        limits: the operator's.
        hold: the workers are busy with what came before, so that waiting costs nothing.
    """
    largest = _largest(situation, limits)
    if largest is None or situation.model is None:
        return Plan((), tuple(rows))
    circuit, most = largest
    waiting = [row for row in rows if _may_join(row, situation.model, situation, circuit)]
    joinable = {row.request_id for row in waiting}
    alone = [row for row in rows if row.request_id not in joinable]
    batches = []
    while waiting:
        if len(waiting) < most and _has_time(waiting, situation, limits, circuit, hold=hold):
            break
        batch = _best(waiting[:most], situation)
        if not batch:
            alone += waiting
            break
        batches.append(tuple(batch))
        waiting = waiting[len(batch) :]
    return Plan(tuple(batches), tuple(sorted(alone, key=lambda row: row.place)))


def _largest(situation: Situation, limits: Limits) -> tuple[ServedCircuit, int] | None:
    """The largest circuit that is of use, and the most requests for it."""
    model, served = situation.model, situation.served
    if model is None or served is None:
        return None
    most = min(limits.max_requests, common_sizes(model.spec, served.spec)[-1])
    circuit = fitting(model, served, most, situation.code_hashes)
    if isinstance(circuit, Skip) or circuit.size == 1:
        return None
    terms = fees.BatchTerms.of(model.spec, circuit.size)
    return (circuit, most) if terms.saved(most) > 0 else None


def _may_join(
    row: RequestRow, model: RegisteredModel, situation: Situation, circuit: ServedCircuit
) -> bool:
    spec = model.spec
    return (
        not row.alone
        and len(tensor.rows(row.request.input, spec.input, spec.codec)) == 1
        and fees.ceiling(row.request, model, situation.terms.subsidy)
        >= fees.least(situation.base_fee)
        and in_time([row.request], circuit.size, situation)
    )


def _has_time(
    rows: Sequence[RequestRow],
    situation: Situation,
    limits: Limits,
    circuit: ServedCircuit,
    *,
    hold: bool,
) -> bool:
    """Whether the requests may wait for more."""
    # Less than nothing: the clock was ahead when they were accepted.
    waited = situation.clock - rows[0].updated_at
    # Twice the time of a proof: whatever makes a worker busy now is done by then.
    spare = situation.expected_seconds[circuit.size]
    return (hold or 0 <= waited < limits.wait_seconds) and in_time(
        [row.request for row in rows], circuit.size, situation, spare
    )


def _best(rows: Sequence[RequestRow], situation: Situation) -> Sequence[RequestRow]:
    """The first rows, as many as save the most gas together; none when none do."""
    model, served = situation.model, situation.served
    if model is None or served is None:
        return ()
    best: tuple[int, Sequence[RequestRow]] = (0, ())
    for size in common_sizes(model.spec, served.spec):
        joined = rows[:size]
        circuit = fitting(model, served, len(joined), situation.code_hashes)
        if isinstance(circuit, ServedCircuit) and circuit.size > 1:
            terms = fees.BatchTerms.of(model.spec, circuit.size)
            # Callbacks that may use much gas leave room for fewer.
            while joined and not terms.fits([row.request for row in joined]):
                joined = joined[:-1]
            best = max(best, (terms.saved(len(joined)), joined), key=lambda pair: pair[0])
    return best[1]
