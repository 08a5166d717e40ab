"""Two nodes that a Prometheus scrapes once a minute: one that is well, one that gets into trouble."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tests.node.world import World

from .promql import Labels, Prometheus, Vector, parse_scrape

WELL, ILL = "well:9464", "ill:9464"
JOB = "oracle-node"
#: Seconds between two scrapes.
INTERVAL = 60


class Stage:
    """Time and scrapes."""

    def __init__(self, make_world: Callable[..., World], **options: Any) -> None:
        self.well = make_world()
        self.ill = make_world(**options)
        self.ill.clock = self.ill.chain._clock = self.well.clock
        self.ill.restart()
        for each in (self.well, self.ill):
            self.revive(each)
        self.prometheus = Prometheus()
        self.down = False
        #: Whether the second node's services and chain go on.
        self.running = True
        self.mining = True

    @property
    def now(self) -> float:
        return self.well.clock.now

    @staticmethod
    def revive(world: World) -> None:
        """Its services are stepped by hand, not by threads."""
        health = world.node.health
        health.watched = tuple(
            dataclasses.replace(each, running=lambda: True) for each in health.watched
        )

    def hold(self, seconds: float, each_minute: Callable[[], Any] = lambda: None) -> None:
        """Let time pass."""
        for _ in range(int(seconds) // INTERVAL):
            self.well.clock.now += INTERVAL
            self.well.chain.mine()
            self.well.settle()
            if self.mining:
                self.ill.chain.mine()
            if self.running:
                self.ill.settle()
            each_minute()
            self.scrape()

    def scrape(self) -> None:
        exposed = [self.exposed(self.well, WELL), up(WELL, alive=True)]
        if not self.down:
            exposed.append(self.exposed(self.ill, ILL))
        self.prometheus.add(self.now, *exposed, up(ILL, alive=not self.down))

    @staticmethod
    def exposed(world: World, instance: str) -> Vector:
        page = world.node.pages()["/metrics"]({})
        return parse_scrape(page.body.decode(), instance=instance, job=JOB)

    def fires(self, expression: str, duration: float) -> set[str]:
        """Instances for which an expression held at every scrape of the last ``duration``."""
        times = [at for at, _ in self.prometheus.scrapes if self.now - duration <= at <= self.now]
        held: set[Labels] | None = None
        for at in times:
            found = set(self.prometheus.ask(expression, at))
            held = found if held is None else held & found
        return {dict(labels)["instance"] for labels in held or ()}


def up(instance: str, *, alive: bool) -> Vector:
    return parse_scrape(f"up {int(alive)}\n", instance=instance, job=JOB)
