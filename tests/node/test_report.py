"""Profit by day and model, with the gas that was really paid (operators, missing 3)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from rich.console import Console
from typer.testing import CliRunner

from oracle.cli.main import app
from oracle.store.records import Settled
from oracle.testing import ORACLE
from tests.node.world import World

DAY = 24 * 3600
FIRST = date(1970, 1, 1)
MakeWorld = Callable[..., World]


def settled(**changes: object) -> Settled:
    values: dict[str, object] = {
        "result": "fulfilled",
        "gas": 21_000,
        "cost": 10**15 + 1,
        "fees": 10**16,
        "refunds": 5,
        "model_id": 7,
        "requests": 1,
    }
    return Settled(**(values | changes))  # type: ignore[arg-type]


def answer(world: World) -> int:
    """A request, answered and final; its id."""
    request = world.ask()
    world.settle()
    world.chain.mine()
    world.settle()
    assert world.state(request) == "final"
    return request


def hashes(world: World) -> list[bytes]:
    """The transactions that were signed."""
    told = [event for event in world.events() if event["event"] == "transaction signed"]
    return [bytes.fromhex(event["tx"].removeprefix("0x")) for event in told]


def report(world: World, *words: str) -> str:
    path = world.folder / "node.toml"
    path.write_text(
        f'chain_id = {world.chain.chain_id}\nrpc_urls = ["http://fake"]\noracle = "{ORACLE}"\n'
        'bundles = ["a"]\nstore = "node.db"\nwork_dir = "jobs"\nkey_file = "key"\n'
    )
    given = ["node", "report", "--config", str(path), "--since", "1970-01-02", *words]
    done = CliRunner().invoke(app, given, catch_exceptions=False)
    return str(done.output)


def test_answered__what_was_paid_and_credited__is_the_receipts(world: World) -> None:
    for _ in range(3):
        answer(world)
    (earned,) = world.store.earnings(FIRST)
    assert (earned.model_id, earned.result) == (world.model_id, "fulfilled")
    assert (earned.transactions, earned.requests) == (3, 3)
    paid = sum(
        receipt.gas_used * receipt.gas_price
        for receipt in map(world.chain.rpc().receipt, hashes(world))
        if receipt is not None
    )
    assert earned.spent == paid
    assert earned.spent > 0
    assert earned.profit == earned.fees + earned.refunds - earned.spent
    assert earned.day == datetime.fromtimestamp(world.clock.now, UTC).date()


def test_sums__of_any_size__are_exact(world: World) -> None:
    """A float has 53 bits, a column 64: neither holds a busy day's wei."""
    spent = [10**24 + 1, 999_999_999, 1, 10**9, 3 * 10**22 + 7]
    for wei in spent:
        world.store.settle(settled(cost=wei, fees=2 * wei, refunds=0))
    (earned,) = world.store.earnings(FIRST)
    assert (earned.spent, earned.fees) == (sum(spent), 2 * sum(spent))
    assert earned.profit == sum(spent)


def test_days_models_and_results__are_lines_of_their_own(world: World) -> None:
    start = world.clock.now
    world.store.settle(settled())
    world.store.settle(settled(model_id=10))
    world.store.settle(settled(result="reverted", fees=0, refunds=0, requests=0))
    world.store.settle(settled(result="cancelled", model_id=None, fees=0, refunds=0, requests=0))
    world.clock.now += DAY
    world.store.settle(settled())
    found = list(world.store.earnings(FIRST))
    assert [(each.model_id, each.result) for each in found] == [
        *((None, "cancelled"), (7, "fulfilled"), (7, "reverted"), (10, "fulfilled")),
        (7, "fulfilled"),
    ]
    later = datetime.fromtimestamp(start + DAY, UTC).date()
    assert [each.day for each in world.store.earnings(later)] == [later]


def test_requests_are_forgotten__what_they_brought__is_not(make_world: MakeWorld) -> None:
    world = make_world(retention_seconds=60)
    answer(world)
    before = list(world.store.earnings(FIRST))
    world.clock.now += 10 * DAY
    world.chain.mine(50)
    world.settle()
    assert list(world.store.earnings(FIRST)) == before


def test_report__csv_and_json__are_in_wei_and_add_up(world: World) -> None:
    world.store.settle(settled())
    world.store.settle(settled(result="reverted", fees=0, refunds=0, requests=0))
    world.store.settle(settled(model_id=8, cost=1, fees=2, refunds=3))
    rows = list(csv.DictReader(io.StringIO(report(world, "--csv"))))
    assert [row["model"] for row in rows] == ["7", "8"]
    assert (rows[0]["transactions"], rows[0]["reverted"], rows[0]["requests"]) == ("2", "1", "1")
    assert int(rows[0]["profit"]) == 10**16 + 5 - 2 * (10**15 + 1)
    values = json.loads(report(world, "--json"))
    assert values["total"]["profit"] == sum(int(row["profit"]) for row in rows)
    assert values["days"][1]["spent"] == 1


def test_report__table__shows_losses_and_the_total(world: World) -> None:
    world.store.settle(settled(cost=25 * 10**17, fees=10**9, refunds=0))
    text = report(world)
    assert "-2.499999999" in text
    assert "total" in text
    assert "ETH" in text


@pytest.mark.parametrize(("columns", "is_whole"), [(40, False), (80, False), (140, True)])
def test_report__narrow_terminal__has_fewer_columns_and_none_that_is_cut(
    world: World, monkeypatch: pytest.MonkeyPatch, columns: int, is_whole: bool
) -> None:
    world.store.settle(settled(cost=25 * 10**17, fees=123 * 10**18, gas=987_654_321_000))
    whole = Console(width=columns)
    monkeypatch.setattr("oracle.cli.report.Console", lambda **_: whole)
    with whole.capture() as captured:
        report(world)
    text = captured.get()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= columns
    assert "120.500000000" in text
    assert ("gas" in text.splitlines()[2]) == is_whole
    assert ("Not shown" in text) != is_whole


def test_report__nothing_yet__says_so(world: World) -> None:
    assert "no transaction became final since 1970-01-02" in report(world)


def test_report__beside_a_running_node__reads_only(world: World) -> None:
    answer(world)
    before = world.store.totals()
    report(world)
    assert world.store.totals() == before


def test_report__time_before_all_dates__is_from_the_first(world: World) -> None:
    world.store.settle(settled())
    for since in ("99999999999d", "9" * 18 + "d", "0001-01-01T00:00+14:00"):
        (day,) = json.loads(report(world, "--json", "--since", since))["days"]
        assert day["model"] == "7"
    assert "since 9999-12-31" in report(world, "--since", "9999-12-31T23:59-14:00")
