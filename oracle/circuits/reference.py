"""The publisher's file as the reference: what it answers to the numbers that a request carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from oracle.circuits import onnx, thresholds
from oracle.circuits.onnx import Model
from oracle.circuits.trial import Floats
from oracle.errors import ModelUnsupported, ProverError
from oracle.prover.sandbox import Sandbox


class Reference:
    """A publisher's file, byte for byte, with the rewritten model beside it."""

    def __init__(self, path: Path, model: Model, work: Path, sandbox: Sandbox) -> None:
        """Take a file and what `onnx.load` made of it.

        Args:
            path: the publisher's file; data files lie beside it.
            model: its rewriting, before any reveal policy.
            work: a folder for what this writes.
            sandbox: runs both.
        """
        self._path, self._sandbox = path, sandbox
        self.scored = model
        self._rewritten = work / "scores.onnx"
        self._rewritten.write_bytes(model.data)
        self._jumps = thresholds.jumps(model, model.output_name)

    @property
    def has_jumps(self) -> bool:
        """Whether its answers jump with numbers that it computes."""
        return bool(self._jumps)

    def answers(self, rows: Floats) -> Floats:
        """Scores [n, scores], before any reveal policy, for rows [n, inputs].

        Raises:
            ModelUnsupported: the file does not run on them.
        """
        model = self.scored
        names = [info.name for info in model.outputs]
        try:
            return onnx.answers(self._path, model.inputs, names, model.labels, rows, self._sandbox)
        except ProverError as error:
            raise ModelUnsupported(
                f"onnxruntime cannot run the model: {error.message}",
                remedy="Export it again with an opset from 9 to 18",
            ) from None

    def finite(self, rows: Floats) -> npt.NDArray[np.bool_]:
        """Whether the answers to each of ``rows`` are numbers."""
        return np.asarray(np.isfinite(self.answers(rows)).all(axis=1), dtype=np.bool_)

    def distances(self, rows: Floats) -> Floats:
        """How far each of ``rows`` is from the next jump, [n].

        In units of what is compared: the least difference over all comparisons of computed numbers,
        and of what is rounded from where its result jumps. Infinite where nothing jumps.
        """
        if not self._jumps:
            return np.full(len(rows), np.inf)
        params = {
            "model": str(self._rewritten.resolve()),
            "jumps": [[jump.operator, *jump.arguments] for jump in self._jumps],
            "rows": rows.tolist(),
        }
        found: Sequence[float | None] = self._sandbox.run("distances", params)["distances"]
        return np.array([np.inf if each is None else each for each in found])
