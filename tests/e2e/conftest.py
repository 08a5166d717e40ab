"""A devnet with everything deployed, and no node yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oracle import demo, tensor
from oracle.circuits.bundle import Bundle
from oracle.devnet import Anvil, Deployed, NodeProcess, deploy
from tests.circuits.makers import ranged


@dataclass
class Place:
    """One devnet and what a person does on it."""

    folder: Path
    anvil: Anvil
    deployed: Deployed
    bundle: Bundle
    config: Path
    nodes: list[NodeProcess] = field(default_factory=list)

    def start_node(self) -> NodeProcess:
        node = NodeProcess(self.config, self.folder / f"node-{len(self.nodes)}.log")
        self.nodes.append(node)
        return node

    def ask(self, *features: float) -> demo.Asked:
        """Send a request from the caller contract."""
        return demo.ask(self.deployed, tensor.encode(features, self.bundle.spec.input))

    def fulfilments(self, asked: demo.Asked) -> int:
        logs = self.deployed.oracle.events.RequestFulfilled().get_logs(
            from_block=0, argument_filters={"requestId": asked.request_id}
        )
        return len(list(logs))


@contextmanager
def opened(folder: Path, bundle: Bundle) -> Iterator[Place]:
    """A devnet that serves a bundle's model."""
    with Anvil(folder / "anvil.log") as anvil:
        deployed = deploy(anvil.w3, bundle, "PredictionConsumer")
        config = demo.write_node_config(folder, anvil, deployed, bundle)
        result = Place(folder, anvil, deployed, bundle, config)
        try:
            yield result
        finally:
            for node in result.nodes:
                node.close()


@pytest.fixture
def place(tmp_path: Path, iris_bundle: Bundle) -> Iterator[Place]:
    with opened(tmp_path, iris_bundle) as result:
        yield result


@pytest.fixture
def ranged_place(tmp_path: Path, iris_bundle: Bundle) -> Iterator[Place]:
    """The last element of an input has a range of its own, 0 to 3."""
    spec = iris_bundle.spec.input
    row, last = (spec.minimum, spec.maximum), (0, 3 << spec.scale)
    bundle = ranged(iris_bundle, tmp_path / "bundle", (row, row, row, last))
    with opened(tmp_path, bundle) as result:
        yield result


@pytest.fixture
def batch_place(tmp_path: Path, iris_batch_bundle: Bundle) -> Iterator[Place]:
    """With circuits for one row and for 32."""
    with opened(tmp_path, iris_batch_bundle) as result:
        yield result


@pytest.fixture
def edit_config(place: Place) -> Callable[[str, str], None]:
    """Replace a piece of the node's configuration."""

    def edit(old: str, new: str) -> None:
        text = place.config.read_text()
        assert old in text
        place.config.write_text(text.replace(old, new))

    return edit
