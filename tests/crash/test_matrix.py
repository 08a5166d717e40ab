"""The node is killed with SIGKILL at each step of a request's life, and ends each request once.

The kill points are not listed anywhere: each scenario is run undisturbed first, in which every
commit and every broadcast of the process numbers itself, and then once for each of these numbers.
All of it happens on each kind of store. On a shared one time passes the dead node's lease before it
is started again, or another node, which has its place already, takes over and goes on.
The tables of `oracle.store.states` say which steps there are: one that no scenario takes, and that
is not named here as out of reach, fails the test.

`make test-long` kills at every point. Otherwise points are drawn anew each day (`tests.sampling`), so
many that before and after each step's commit, and around a broadcast, a process is killed on SQLite,
and on PostgreSQL before or after.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from oracle.chain.contracts import Status
from oracle.store.states import INTENT_STEPS, JOB_STEPS, REQUEST_STEPS
from tests import sampling
from tests.node.world import KEY
from tests.postgres import PostgresServer

from .matrix import Ending, Forge, Point, Run, StoreKind, forge
from .outside import OTHER_KEY, Scenario
from .scenarios import SCENARIOS

Step = tuple[str, str, str]
#: Scenario, process and point.
Kill = tuple[str, int, Point]

#: Steps that the tables allow and that nothing does.
OUT_OF_REACH: dict[Step, str] = {
    ("request", "skipped", "expired"): "the janitor leaves it: nothing was promised or spent",
    ("request", "queued", "failed"): "a job fails only while it runs",
    ("request", "running", "seen"): "the job of a node that is gone is put back first",
    ("request", "mined", "orphaned"): "a reorg of its block takes its answer back first",
    ("request", "final", "orphaned"): "a reorg of its block takes its answer back first",
    ("request", "lost", "orphaned"): "a reorg of its block takes its end back first",
    ("request", "cancelled", "orphaned"): "a reorg of its block takes its end back first",
    ("request", "expired", "pending"): "it takes an older version's clock: test_clock.py",
    ("request", "lost", "pending"): "it takes an endpoint that denies a receipt: test_submitter.py",
}
#: Points after which a process is killed, over and over; each gets further than its start, which
#: takes up to 14 of them.
OVER_AND_OVER = (17, 19, 23)

#: How many of these there are in a sample.
_TAKE_OVERS = 8
_RECOVERIES = 8

#: The scenarios that are looked at from all sides.
WHOLE = [scenario.name for scenario in SCENARIOS.values() if scenario.whole]


def table() -> set[Step]:
    """Every step of the store's tables."""
    tables = {"request": REQUEST_STEPS, "job": JOB_STEPS, "intent": INTENT_STEPS}
    return {
        (kind, str(source), str(target))
        for kind, steps in tables.items()
        for source, targets in steps.items()
        for target in targets
    }


@dataclass(frozen=True)
class Survey:
    """An undisturbed run: what happens in it, and where it will be killed."""

    ending: Ending
    points: tuple[tuple[Point, ...], ...]
    #: Process and point.
    kills: tuple[tuple[int, Point], ...]


@dataclass
class Matrix:
    """All scenarios on one kind of store."""

    kind: StoreKind
    folder: Path
    forge: Forge
    #: Forks what works beside the nodes of the other.
    second: Forge
    surveys: dict[str, Survey]
    runs: Iterator[int]
    #: Where processes are killed in this run of the tests.
    chosen: list[Kill] = field(default_factory=list)

    def run(self, scenario: Scenario) -> Run:
        return Run(scenario, self.forge, self.folder / str(next(self.runs)), self.kind)

    def survey(self) -> None:
        """Run every scenario undisturbed. A step is killed at where it is taken first."""
        killed: set[tuple[str, Step]] = set()
        for scenario in SCENARIOS.values():
            run = self.run(scenario)
            ending = run.play()
            kills = []
            for process, points in enumerate(run.points):
                for point in points:
                    here = {(point.at, step) for step in point.steps}
                    if scenario.whole or not here <= killed:
                        kills.append((process, point))
                    killed |= here
            self.surveys[scenario.name] = Survey(
                ending, tuple(map(tuple, run.points)), tuple(kills)
            )
        every = [
            (name, process, point)
            for name, survey in self.surveys.items()
            for process, point in survey.kills
        ]
        kinds = _steps if self.kind.is_shared else _sides
        self.chosen = sampling.cover(f"kills, {kinds.__name__}", every, kinds)

    def steps(self) -> set[Step]:
        """Every step that was taken, ahead of whose commit and after it a process is killed."""
        return {
            step
            for survey in self.surveys.values()
            for points in survey.points
            for point in points
            for step in point.steps
        }


def _sides(kill: Kill) -> set[tuple[str, Step | None]]:
    """What a process is killed before, or after."""
    _, _, point = kill
    return {(point.at, step) for step in point.steps or (None,)}


def _steps(kill: Kill) -> set[Step | str]:
    """What a process is killed before or after: each step takes a fork and a connection or two."""
    _, _, point = kill
    return set(point.steps) or {point.at}


@contextmanager
def surveyed(kind: StoreKind) -> Iterator[Matrix]:
    # In memory where there is such a place: the kernel keeps what a killed process has written.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        with forge() as first, forge() as second:
            made = Matrix(kind, folder, first, second, {}, itertools.count())
            made.survey()
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[Matrix]:
    with surveyed(StoreKind(lambda folder: str(folder / "node.db"), is_shared=False)) as made:
        yield made


@pytest.fixture(scope="module")
def on_postgres(postgres: PostgresServer) -> Iterator[Matrix]:
    with surveyed(StoreKind(lambda _: postgres.fresh().get_secret_value(), is_shared=True)) as made:
        yield made


# Two long halves, which share nothing.
_SQLITE = pytest.param("on_sqlite", marks=pytest.mark.xdist_group("crash-sqlite"))
_POSTGRES = pytest.param("on_postgres", marks=pytest.mark.xdist_group("crash-postgres"))


@pytest.fixture(scope="module", params=[_SQLITE, _POSTGRES])
def matrix(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def audit(ending: Ending) -> None:
    """What must hold however often the node died."""
    assert ending.waiting == 0, "a transaction waits behind a gap"
    assert ending.open == (), "the node waits for a transaction that was mined or never will be"
    for account in {account for account, _ in ending.mined}:
        nonces = [nonce for sender, nonce in ending.mined if sender == account]
        assert nonces == list(range(len(nonces))), "a nonce gap"
    assert ending.nonces <= set(ending.mined)
    for state, status, fulfilled in zip(
        ending.states, ending.statuses, ending.fulfilled, strict=True
    ):
        assert fulfilled <= 1, "paid twice"
        assert (state == "final") == (fulfilled == 1)
        assert (state == "lost") == (status is Status.FULFILLED and not fulfilled)
        assert (state == "cancelled") == (status is Status.REFUNDED)
        assert state in ("final", "lost", "cancelled") or status is Status.OPEN
    assert not set(ending.states) - {"final", "lost", "cancelled", "failed", "skipped", "expired"}
    for state, reason in zip(ending.states, ending.reasons, strict=True):
        assert state == "final" or reason, "it ended without a reason"


def test_tables__every_step__is_taken_by_a_scenario_or_named_as_out_of_reach(
    matrix: Matrix,
) -> None:
    taken = matrix.steps()
    untaken = sorted(table() - taken - OUT_OF_REACH.keys())
    assert not untaken, f"write a scenario for these steps: {untaken}"
    assert not taken & OUT_OF_REACH.keys(), "these are in reach"
    assert OUT_OF_REACH.keys() <= table(), "these are not in the tables any more"


def test_every_step__has_a_kill_before_and_after_its_commit(matrix: Matrix) -> None:
    kills = {(point.at, step) for _, _, point in matrix.chosen for step in point.steps}
    if sampling.is_whole() or not matrix.kind.is_shared:
        assert kills == set(itertools.product(("before commit", "after commit"), matrix.steps()))
    else:
        assert {step for _, step in kills} == matrix.steps()
    ats = {point.at for _, _, point in matrix.chosen}
    assert ats == {"before commit", "after commit", "before send", "after send"}


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_a_step__restarted__ends_as_if_nothing_had_happened(
    matrix: Matrix, name: str
) -> None:
    survey = matrix.surveys[name]
    audit(survey.ending)
    for process, point in [kill[1:] for kill in matrix.chosen if kill[0] == name]:
        run = matrix.run(SCENARIOS[name])
        ending = run.play([*[0] * process, point.number])
        assert run.killed == 1, point
        audit(ending)
        assert ending == survey.ending, point


@pytest.mark.xdist_group("crash-postgres")
@pytest.mark.parametrize("key", [KEY, OTHER_KEY], ids=["same_account", "another_account"])
@pytest.mark.parametrize("name", WHOLE)
def test_killed_at_a_step__another_node_goes_on__ends_as_if_nothing_had_happened(
    on_postgres: Matrix, name: str, key: str
) -> None:
    survey, second = on_postgres.surveys[name], on_postgres.second
    undisturbed = on_postgres.run(SCENARIOS[name])
    assert undisturbed.play_beside(second, key) == survey.ending
    first, _ = undisturbed.points
    points = [point for point in first if point.steps or "send" in point.at]
    for point in sampling.sample(f"take-over {name} {key}", points, _TAKE_OVERS):
        run = on_postgres.run(SCENARIOS[name])
        ending = run.play_beside(second, key, point.number)
        assert run.killed == 1, point
        audit(ending)
        assert ending.states == survey.ending.states, point
        assert ending.in_vain == 0, point


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("every", OVER_AND_OVER)
def test_killed_over_and_over__ends_as_if_nothing_had_happened(
    matrix: Matrix, name: str, every: int
) -> None:
    run = matrix.run(SCENARIOS[name])
    ending = run.play(itertools.repeat(every))
    assert run.killed
    audit(ending)
    assert ending == matrix.surveys[name].ending


def test_killed_while_it_recovers_from_a_kill__ends_as_if_nothing_had_happened(
    matrix: Matrix,
) -> None:
    survey = matrix.surveys["batch_answered"]
    pairs = list(itertools.product(survey.kills[::15], (1, 2, 3, 4)))
    for (_, first), second in sampling.sample("while it recovers", pairs, _RECOVERIES):
        run = matrix.run(SCENARIOS["batch_answered"])
        ending = run.play([first.number, second])
        audit(ending)
        assert ending == survey.ending, (first, second)
