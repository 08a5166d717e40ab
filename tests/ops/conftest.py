"""Fixtures of the suite of what operators are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.e2e.browser import Browser
from tests.node.conftest import make_world, world

__all__ = ["make_world", "world"]

#: Outside the table, so that nothing is pointed at.
_ASIDE = (3, 3)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with closing(Browser(tmp_path_factory.mktemp("browser"))) as result:
        result.call(
            "Browser.grantPermissions",
            permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
        )
        result.call("Emulation.setFocusEmulationEnabled", enabled=True)
        yield result


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    chromium.complaints.clear()
    chromium.size(1440, 900)
    chromium.point(*_ASIDE)
    yield chromium
    assert chromium.complaints == []
