"""Fixtures of the suite of what operators are given."""

from __future__ import annotations

from tests.node.conftest import make_world, world

__all__ = ["make_world", "world"]
