"""Verbs one after the other, each in a process of its own: what building a circuit needs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oracle.errors import ProverCrashed
from oracle.prover import nursery
from oracle.prover.child import Limits, environment, result_of, run_in, write_job

#: What nothing is loaded for beforehand: its memory is measured, and the blinding of a proof must
#: not come from a random generator whose state children share.
_ALONE = "prove"
#: What threads help: the rest is small steps in their thousands, and threads would wait for each other.
_PARALLEL = frozenset({"setup", "srs"})


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Runs verbs and waits for each."""

    limits: Limits
    home: Path | None = None

    def run(self, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The verb's result. Errors as `Child.poll`."""
        job_dir = Path(tempfile.mkdtemp(prefix=f"oracle-{verb}-"))
        if verb == _ALONE:
            return run_in(job_dir, verb, params, self.limits, self.home)
        try:
            write_job(job_dir, verb, params, self.limits)
            threads = self.limits.threads if verb in _PARALLEL else 1
            variables = environment(self.home or job_dir, threads)
            code = nursery.run(job_dir, variables, self.limits.timeout)
            if code is None:
                raise ProverCrashed("the process that starts provers was ended")
            return result_of(job_dir, code, self.limits)
        finally:
            shutil.rmtree(job_dir, ignore_errors=True)
