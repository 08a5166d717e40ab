"""Plans that round here and there, for tests of what holds under any plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from oracle.circuits.fixed import CURVES, Tensor, Unplannable, prepared, rewrite
from oracle.circuits.lowering.graph import Node
from oracle.circuits.onnx import Model
from oracle.circuits.plan import Plan


class Dice:
    """Decisions of chance; `plan` records them."""

    def __init__(self, scales: Plan, rng: np.random.Generator) -> None:
        self.scales = scales
        self._rng = rng
        self._rounded: dict[tuple[str, int], int] = {}
        self._looked_up: set[str] = set()
        self._often = rng.choice([0.0, 0.3, 0.7])
        self._tables = rng.choice([0.0, 0.6])

    @property
    def plan(self) -> Plan:
        return dataclasses.replace(
            self.scales,
            rounded=tuple(sorted((*key, bits) for key, bits in self._rounded.items())),
            looked_up=tuple(sorted(self._looked_up)),
        )

    def rounds(self, node: Node, position: int, tensor: Tensor, raised: int) -> int | None:
        most = 10 if node.key[1] in CURVES else 26 - raised
        true = self.scales.scale + int(self._rng.integers(0, 4))
        if tensor.true <= most and self._rng.random() > self._often:
            return None
        true = min(true, most)
        if true >= tensor.true:
            return None
        self._rounded[node.proto.output[0], position] = true
        return true

    def looks_up(self, node: Node, arguments: Sequence[Tensor]) -> bool:
        small = arguments[0].true <= 10
        chosen = node.key[1] in CURVES or (small and self._rng.random() < self._tables)
        if chosen:
            self._looked_up.add(node.proto.output[0])
        return chosen

    def weight_scale(self, node: Node, tensor: Tensor) -> int:
        return self.scales.weight_scale

    def holds(self, tensor: Tensor) -> None:
        pass


def plan_at_random(model: Model, seed: int) -> Plan:
    """A plan that fits the model.

    Raises:
        Unplannable: no plan fits it.
    """
    data = prepared(model)
    scale, weight_scale = np.random.default_rng(seed).integers((3, 2), (9, 12))
    for multiplier in range(1, 17):
        scales = Plan(int(scale), int(weight_scale), (), multiplier, (), ())
        dice = Dice(scales, np.random.default_rng(seed))
        if rewrite(data, dice).greatest <= scales.limit:
            return dice.plan
    raise Unplannable("scales too far apart")
