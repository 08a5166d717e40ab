"""A model, its promise and its judge, as a search has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from oracle.chain.toolchain import toolchain
from oracle.circuits import onnx as models
from oracle.circuits.judge import Goal, Judge, Subject
from oracle.circuits.promise import Promise, Wanted, promises
from oracle.circuits.reference import Reference
from oracle.circuits.reveal import Reveal, apply
from oracle.circuits.shapes import TAG_LAYOUTS
from oracle.circuits.trial import Graph
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
from tests.circuits.makers import saved


def judged(
    model: onnx.ModelProto,
    folder: Path,
    samples: np.ndarray,
    goal: Goal,
    reveal: str = "full",
    wanted: Wanted | None = None,
) -> tuple[Subject, Judge]:
    """The widest promise for the samples, and what measures circuits by it."""
    sandbox = Sandbox(Limits(120, 8 << 30, 2), toolchain().ezkl_home)
    path = saved(model, folder)
    scored = models.load(path, sandbox)
    reference = Reference(path, scored, folder, sandbox)
    promise = widest(scored, samples, reference, wanted or Wanted())
    policy = Reveal.parse(reveal)
    revealed = apply(scored, policy)
    tagged = folder / "tagged.onnx"
    tagged.write_bytes(models.add_tag(revealed, TAG_LAYOUTS[0]))
    graph = Graph(tagged.resolve(), TAG_LAYOUTS[0], sandbox)
    subject = Subject(revealed, graph, policy, promise)
    return subject, Judge(subject, samples, goal, reference)


def widest(
    scored: models.Model, samples: np.ndarray, reference: Reference, wanted: Wanted
) -> Promise:
    """The first promise that a search tries."""
    found = promises(samples, scored.inputs, scored.allowed, wanted, reference.finite)
    return next(found)
