"""From a model to circuits that keep a promise: the widest promise that any circuit keeps.

For each promise, the widest first, the forms of the model are searched and the finalists attacked.
What breaks one joins the rows that the next search is measured by.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oracle.circuits import attack, forms, onnx
from oracle.circuits import promise as promises
from oracle.circuits import reveal as policies
from oracle.circuits.attack import Attacked
from oracle.circuits.guarantee import arithmetic_of
from oracle.circuits.judge import (
    MARGIN_BOUNDS,
    Goal,
    Judge,
    Subject,
    Tuned,
    certainty,
    expected,
)
from oracle.circuits.onnx import Model
from oracle.circuits.promise import Promise, Wanted
from oracle.circuits.reference import Reference
from oracle.circuits.reveal import Kind, Reveal
from oracle.circuits.shapes import TAG_LAYOUTS
from oracle.circuits.trial import Floats, Graph
from oracle.circuits.tuner import Found
from oracle.errors import CircuitError, CircuitInaccurate, CircuitTooLarge, VerifierTooLarge
from oracle.prover.sandbox import Sandbox

#: How often what an attack finds is handed back.
_ROUNDS = 6
#: A share of labels below this is worth a word.
_FEW_LABELS = 0.95
#: Samples that are asked for an answer first.
_LOOKED_AT = 64
#: The model's file in a folder of the search.
_MODEL = "model.onnx"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Circuits that kept their promise under attack."""

    #: The finalists are those that withstood.
    found: Found
    promise: Promise
    #: The model before its reveal policy.
    scored: Model
    #: What came of the attack on each finalist.
    attacked: tuple[Attacked, ...]
    goal: Goal
    #: Answers jump: by their policy, or inside the model with numbers that it computes.
    jumps: bool

    def margin(self, tuned: Tuned) -> float:
        """What compared scores differ by, at most, where a jump may go the other way."""
        if not self.jumps:
            return 0.0
        certain = self._attacked(tuned).guarantee
        most = MARGIN_BOUNDS * self.goal.max_error
        return most if certain is None else min(most, certain.margin)

    def warnings(self, tuned: Tuned) -> tuple[str, ...]:
        """What a publisher should know of a finalist."""
        found = list(self.found.notes)
        bound, attacked = self.goal.max_error, self._attacked(tuned)
        if bound >= attacked.spread:
            found.append(
                f"the bound {bound:g} is no less than the spread of the answers on the samples, "
                f"{attacked.spread:.3g}: a proof says little; give a smaller --max-error"
            )
        rounding = attacked.rounding
        if rounding.most > bound:
            steps = 1 << tuned.input.scale
            found.append(
                f"a request carries numbers in steps of 1/{steps}: to round to them changes the file's "
                f"own scores by up to {rounding.most:.3g}, more than the bound {bound:g}, and "
                f"{rounding.moved:.1%} of its answers on the samples"
            )
        if attacked.vanished:
            found.append(f"{_weights(attacked.vanished)} zero in the circuit and not in the model")
        agreement = tuned.accuracy.label_agreement
        if agreement is not None and agreement < _FEW_LABELS:
            found.append(
                f"only {agreement:.0%} of the held-back samples get the float model's label; give "
                "a smaller --max-error"
            )
        return tuple(found)

    def _attacked(self, tuned: Tuned) -> Attacked:
        return self.attacked[self.found.finalists.index(tuned)]


def search(
    path: Path,
    scored: Model,
    samples: Floats,
    goal: Goal,
    *,
    reveal: Reveal,
    wanted: Wanted,
    work: Path,
    sandbox: Sandbox,
    progress: Progress = lambda _: None,
) -> Chosen:
    """Search.

    Args:
        path: the publisher's file.
        scored: what `onnx.load` made of it.
        samples: float [n, inputs], n >= 8.
        goal: what is wanted.
        reveal: how much of the answer is published.
        wanted: which inputs are to be promised.
        work: an empty folder.
        sandbox: runs what reads the model.
        progress: called with a few words before each step.

    Raises:
        CircuitError: no circuit keeps any promise; of the narrowest one.
        ModelUnsupported: the model gives no numbers among the samples, or cannot be expressed.
        UsageError: a range that was asked for does not fit the samples.
    """
    reference = Reference(path, scored, work, sandbox)
    # Before any range: a sample without an answer is another matter than a range with a pole.
    expected(reference, samples[:_LOOKED_AT])
    allowed = scored.allowed
    failure = CircuitError("there is no promise to try")
    for index, promise in enumerate(
        promises.promises(samples, scored.inputs, allowed, wanted, reference.finite)
    ):
        if index:
            each = "one for all elements" if promise.is_uniform else "each element its own"
            progress(f"promising other ranges, {each}")
        try:
            return _Keeping(
                scored, reference, samples, goal, reveal, promise, work, sandbox
            ).search(progress)
        except (CircuitTooLarge, VerifierTooLarge):
            raise
        except CircuitError as error:
            failure = error
    raise failure


class _Keeping:
    """The search for circuits that keep one promise."""

    def __init__(
        self,
        scored: Model,
        reference: Reference,
        samples: Floats,
        goal: Goal,
        reveal: Reveal,
        promise: Promise,
        work: Path,
        sandbox: Sandbox,
    ) -> None:
        self._scored = scored
        model = policies.apply(scored, reveal)
        self._model, self._reference, self._samples, self._goal = model, reference, samples, goal
        self._reveal, self._promise = reveal, promise
        self._work, self._sandbox = work, sandbox
        #: What broke circuits so far, float [k, inputs].
        self._broken = np.empty((0, samples.shape[1]))

    def search(self, progress: Progress) -> Chosen:
        """Circuits that withstand.

        Raises:
            CircuitError: there are none.
        """
        finding = ""
        for _ in range(_ROUNDS):
            found = forms.search(self._model, self._goal, self._judged, progress)
            withstood: list[tuple[Tuned, Attacked]] = []
            for tuned in found.finalists:
                progress(f"attacking the circuit of 2**{tuned.candidate.shape.logrows} rows")
                attacked = self._attacked(tuned)
                if not len(attacked.broken):
                    withstood.append((tuned, attacked))
                    continue
                finding = attacked.finding
                self._broken = np.vstack([self._broken, attacked.broken])
            if withstood:
                kept = tuple(tuned for tuned, _ in withstood)
                found = dataclasses.replace(found, finalists=kept)
                jumps = self._reveal.kind is not Kind.FULL or self._reference.has_jumps
                attacks = tuple(each for _, each in withstood)
                return Chosen(found, self._promise, self._scored, attacks, self._goal, jumps)
        raise CircuitInaccurate(
            f"{finding}; allowed {self._goal.max_error:g}",
            remedy="Allow a larger --max-error, promise less (--margin, --range), or give "
            "--promise samples for what is measured on data alone",
        )

    def _attacked(self, tuned: Tuned) -> Attacked:
        arithmetic = arithmetic_of(tuned.subject.graph.path, tuned.settings["run_args"])
        is_promised = self._promise.kind is promises.Kind.RANGES
        certain = None
        if is_promised and arithmetic is not None:
            certain = certainty(tuned.subject, self._scored, arithmetic, self._goal)
        is_certain = certain is not None and certain.error <= self._goal.max_error
        share = 1.0 if is_certain or not is_promised else attack.KEPT
        found = attack.attack(tuned, self._reference, self._samples, self._goal, arithmetic, share)
        return dataclasses.replace(found, guarantee=certain)

    def _judged(self, model: Model) -> tuple[Subject, Judge]:
        folder = Path(tempfile.mkdtemp(prefix="form-", dir=self._work)).resolve()
        tagged = folder / _MODEL
        tagged.write_bytes(onnx.add_tag(model, TAG_LAYOUTS[0]))
        graph = Graph(tagged, TAG_LAYOUTS[0], self._sandbox)
        subject = Subject(model, graph, self._reveal, self._promise)
        judge = Judge(subject, self._samples, self._goal, self._reference, self._broken)
        return subject, judge


def _weights(count: int) -> str:
    return "1 weight is" if count == 1 else f"{count} weights are"
