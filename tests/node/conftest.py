"""Fixtures of the node's suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .world import World


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds; options are those of the node's configuration."""
    made: list[World] = []

    def make(*, served: Any = None, **options: Any) -> World:
        extra = {} if served is None else {"served": served}
        world = World(tmp_path / str(len(made)), options, **extra)
        made.append(world)
        return world

    yield make
    for world in made:
        world.die()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
