"""How much of its answer a model publishes: the circuit ends where the policy says."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.circuits.onnx import Model
from oracle.errors import UsageError


@dataclass(frozen=True, slots=True)
class Reveal:
    """A reveal policy."""

    mode: str = "full"

    @classmethod
    def parse(cls, text: str) -> Reveal:
        """A policy from its name.

        Raises:
            UsageError: there is no such policy.
        """
        if text != "full":
            raise UsageError(f"{text!r} is no reveal policy", remedy="Use full")
        return cls(text)


def apply(model: Model, reveal: Reveal) -> Model:
    """The model that ends as ``reveal`` says."""
    return {"full": model}[reveal.mode]
