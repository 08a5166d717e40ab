from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.anvil import Devnet, anvil
from tests.contracts.world import World, make_world


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ape's tests need its plugin: ``pytest -p ape.pytest.plugin tests/contracts/ape``."""
    wanted = config.pluginmanager.has_plugin("ape.pytest.plugin")
    return True if collection_path.name == "ape" and not wanted else None


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    with anvil(tmp_path_factory.mktemp("anvil") / "anvil.log") as running:
        yield running
