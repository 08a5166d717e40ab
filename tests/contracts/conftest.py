from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.anvil import Devnet, anvil
from tests.contracts.world import World, make_world

# Ape's tests need its plugin and run on their own: pytest -p ape.pytest.plugin tests/contracts/ape
collect_ignore = ["ape"]


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    with anvil(tmp_path_factory.mktemp("anvil") / "anvil.log") as running:
        yield running
