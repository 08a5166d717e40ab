"""The store's tests run on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle.store.database import Location
from oracle.store.ledger import Store

from .makers import make_store


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where an empty store can be, on each engine."""
    if request.param == "sqlite":
        return tmp_path / "node.db"
    return request.getfixturevalue("postgres").fresh()


@pytest.fixture
def store(location: Location) -> Iterator[Store]:
    made = make_store(location)
    yield made
    made.close()
