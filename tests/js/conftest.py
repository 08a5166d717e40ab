from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.conftest import deployed, devnet  # noqa: F401 - fixtures
from tests.js.project import packed, project


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm package's files."""
    return packed(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def workshop(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the package, ethers, viem and TypeScript."""
    return project(tmp_path_factory.mktemp("project"), package, "libraries")
