from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.anvil import Deployed, Devnet, anvil, register
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


@pytest.fixture(scope="module")
def deployed(devnet: Devnet) -> Deployed:
    registry = devnet.deploy("ModelRegistry")
    return Deployed(
        devnet=devnet,
        registry=registry,
        oracle=devnet.deploy("InferenceOracle", registry.address, devnet.accounts[0]),
        model_id=register(devnet, registry, devnet.deploy("HashVerifier").address),
    )
