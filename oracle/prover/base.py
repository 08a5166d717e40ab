"""What the node needs of a prover: four verbs, so that one machine and a fleet look the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from oracle.errors import OracleError
from oracle.types import CircuitFiles, Proof, ProofJob

#: Address space of a child that has loaded ezkl and proves nothing (bytes).
_IDLE_CHILD = 2 << 30
#: Address space of a proof per byte of proving key; resident memory is 2.2 to 2.5 times the key.
_PER_KEY_BYTE = 6
#: Resident memory of that idle child (bytes), and of a proof per byte of proving key.
_IDLE_RESIDENT = 128 << 20
_RESIDENT_PER_KEY_BYTE = 2.5


@dataclass(frozen=True, slots=True)
class ProofOutcome:
    """How a job ended. ``result.transient`` says whether an error is worth another attempt."""

    job_id: str
    result: Proof | OracleError


class Prover(Protocol):
    """Runs proof jobs. No call waits for a proof."""

    def submit(self, job: ProofJob) -> None:
        """Start a job. Precondition: ``capacity() > 0`` and the id is not running.

        Raises:
            ProverUnavailable: no job can start now (disk full, folder gone); not the job's fault.
        """

    def poll(self) -> list[ProofOutcome]:
        """The jobs that ended since the last call, each exactly once."""

    def cancel(self, job_id: str) -> None:
        """Stop a job; it will not appear in `poll`. Unknown ids are ignored."""

    def capacity(self, memory_bytes: int = 0) -> int:
        """How many jobs with this cap on their memory can start now.

        Memory never keeps the only job from starting: its cap and the kernel say what happens.
        """

    def close(self) -> None:
        """Stop everything. Idempotent."""


def memory_cap(circuit: CircuitFiles) -> int:
    """A cap for `ProofJob.memory_bytes` that a healthy proof of this circuit stays under (bytes).

    It limits address space, which is larger than resident memory.
    """
    return _IDLE_CHILD + _PER_KEY_BYTE * circuit.proving_key.stat().st_size


def resident_bytes(memory_bytes: int) -> int:
    """Memory that a proof with this cap takes at its peak (bytes).

    Higher for a job that gets more room after it ran out of it.
    """
    per_key = _RESIDENT_PER_KEY_BYTE / _PER_KEY_BYTE
    return _IDLE_RESIDENT + int(max(0, memory_bytes - _IDLE_CHILD) * per_key)
