"""The page of a node in a browser, for the tests that look at it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from oracle.page import ModelCard
from tests.e2e.browser import Browser
from tests.node.world import World
from tests.ops.test_page import card, page, served

#: Scores of three classes.
OUTPUTS = ((2396, 820, -300), (410, 1900, 120), (12, 600, 2100))
#: Whole ids of the rows, from the first one on.
IDS = "[...document.querySelectorAll('#requests tbody .open')].map(each => each.title)"


def iris(world: World, **changes: Any) -> ModelCard:
    output = dataclasses.replace(card(world).output, length=3)
    values: dict[str, Any] = {
        "name": "iris",
        "output": output,
        "labels": ("setosa", "versicolor", "virginica"),
        "reveal": "full",
        "inputs": ("input 1 by 4",),
        "outputs": ("logits 1 by 3",),
    }
    return card(world, **(values | changes))


@contextmanager
def opened(browser: Browser, world: World, address: str = "/", **changes: Any) -> Iterator[str]:
    """The page at an address, once its requests are there; where its node is."""
    # No service of this node runs by itself.
    world.node.health.watched = ()
    with served(world, page(world, iris(world, **changes)).pages()) as port:
        origin = f"http://127.0.0.1:{port}"
        browser.open(origin + address)
        browser.wait_for("document.querySelectorAll('#requests tbody tr').length > 0")
        try:
            yield origin
        finally:
            browser.open("about:blank")


def hexes(ids: list[int]) -> list[str]:
    return [f"{each:#066x}" for each in ids]


def wait_for_rows(browser: Browser, ids: list[int]) -> None:
    browser.wait_for(f"JSON.stringify({IDS}) === '{json.dumps(hexes(ids), separators=(',', ':'))}'")
