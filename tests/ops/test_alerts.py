"""Every shipped expression is about metrics that exist, and every alert can fire."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from oracle.chain.observed import ObservedTransport
from oracle.config import project_root
from oracle.errors import ProverInput, RpcUnreachable
from oracle.node import Node
from tests.node.world import World

from .promql import NAME, Vector, matches, selectors
from .stage import ILL, Stage

OPS = project_root() / "deployments" / "ops"
RULES = [
    rule
    for group in yaml.safe_load((OPS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
MakeWorld = Callable[..., World]


def panels() -> list[tuple[str, str]]:
    """Title and expression of every query of the dashboard."""
    found = []
    todo = list(json.loads((OPS / "grafana.json").read_text())["panels"])
    for panel in todo:
        todo += panel.get("panels", [])
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    return found


def seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([smhd])", text))


EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in RULES] + panels()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vector]:
    """What Prometheus has of two nodes that have answered requests."""
    worlds: list[World] = []

    def make(**options: Any) -> World:
        worlds.append(World(tmp_path_factory.mktemp("world"), options))
        return worlds[-1]

    stage = Stage(make)
    # The name of an endpoint is a label's value: one call must have been made.
    traffic_of(stage.ill.node).add("http://fake", 0.1, None)
    stage.ill.ask()
    stage.hold(60)
    yield stage.prometheus.scrapes[-1][1]
    for world in worlds:
        world.die()


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_expression__is_valid_and_each_selector_finds_a_series_of_the_real_registry(
    samples: Vector, title: str, expression: str
) -> None:
    expression = expression.replace("$instance", ILL)
    promql_parser.parse(expression)
    for selector in selectors(expression):
        assert any(matches(selector, labels) for labels in samples), f"{title}: {selector}"


def test_alerts__have_a_summary_a_severity_and_a_section_in_the_runbook() -> None:
    page = (project_root() / "docs" / "operators.md").read_text()
    sections = {line[4:].strip() for line in page.splitlines() if line.startswith("### ")}
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "warn"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"docs/operators.md#{rule['alert'].lower()}"
        assert rule["alert"] in sections
    assert {name for name in sections if name.startswith("Oracle")} == {
        rule["alert"] for rule in RULES
    }


def traffic_of(node: Node) -> Any:
    return node._parts.traffic


# --- trouble, by the alert that it must set off ---


def node_down(stage: Stage) -> None:
    stage.down = True
    stage.hold(180)


def service_hung(stage: Stage) -> None:
    stage.ill.node._threads["runner"].pulse._due = time.monotonic() - 1
    stage.hold(120)


def endpoint_down(stage: Stage) -> None:
    stage.running = False
    for method in ("eth_getBalance", "eth_getBlockByNumber"):
        stage.ill.endpoint.fail(method, RpcUnreachable("down"), times=10**9)
    stage.hold(720)


def service_fails(stage: Stage) -> None:
    pulse = stage.ill.node._threads["watcher"].pulse
    stage.hold(1200, lambda: pulse.failed("RPC_UNREACHABLE"))


def watcher_slow(stage: Stage) -> None:
    stage.running = False
    stage.ill.chain.mine(200)
    stage.hold(720)


def chain_stands_still(stage: Stage) -> None:
    stage.mining = False
    stage.hold(720)


def clock_wrong(stage: Stage) -> None:
    """Operators D9: that of the chain, and of the other node, stays right."""
    stage.ill.clock = dataclasses.replace(stage.well.clock)
    stage.ill.restart()
    stage.revive(stage.ill)
    for _ in range(12):
        stage.ill.clock.now = stage.now + 7200
        stage.hold(60)


def endpoint_fails_half(stage: Stage) -> None:
    inner = stage.ill.endpoint
    transport = ObservedTransport(inner, "http://fake", traffic_of(stage.ill.node))

    def call_twice() -> None:
        transport.send("eth_chainId", [])
        inner.fail("eth_chainId", RpcUnreachable("down"))
        with pytest.raises(RpcUnreachable):
            transport.send("eth_chainId", [])

    stage.hold(1500, call_twice)


def balance_low(stage: Stage) -> None:
    world = stage.ill
    world.chain.balances[world.signer.address] = 15 * 10**15
    stage.hold(360)


def send_one(world: World) -> int:
    """A request whose transaction waits to be mined."""
    world.chain.automine = False
    request_id = world.ask()
    world.chain.mine()
    world.until(lambda: world.state(request_id) == "pending")
    return request_id


def transaction_reverts(stage: Stage) -> None:
    """Another node is faster by a block."""
    world = stage.ill
    request_id = send_one(world)
    world.chain.end(request_id)
    world.chain.mine()
    stage.hold(120)


def loses_money(stage: Stage) -> None:
    transaction_reverts(stage)
    stage.hold(3660)


def transaction_stuck(stage: Stage) -> None:
    world = stage.ill
    send_one(world)
    # Nobody mines it, whatever it pays.
    world.chain.mine = lambda blocks=1: None  # type: ignore[method-assign]
    world.endpoint.fail("eth_sendRawTransaction", RpcUnreachable("down"), times=10**9)
    stage.hold(1080)


def nonce_missing(stage: Stage) -> None:
    world = stage.ill
    submitter = world.node.submitter
    right = submitter._next_nonce
    submitter._next_nonce = lambda account: right(account) + 1  # type: ignore[method-assign]
    world.ask()
    stage.hold(420)


def nonce_used_elsewhere(stage: Stage) -> None:
    world = stage.ill
    send_one(world)
    world.chain.mempool.clear()
    world.chain._nonces[world.signer.address] += 1
    stage.hold(240)


def proof_fails(stage: Stage) -> None:
    stage.ill.prover.errors.append(ProverInput("not a number of the circuit"))
    stage.ill.ask()
    stage.hold(60)


def prover_takes_nothing(stage: Stage) -> None:
    stage.ill.prover.capacity = lambda: 0  # type: ignore[method-assign]
    stage.ill.ask()
    stage.hold(720)


def request_expires(stage: Stage) -> None:
    stage.ill.prover.held = True
    stage.ill.ask(lifetime=300)
    stage.hold(420)


def answers_slow(stage: Stage) -> None:
    world = stage.ill
    for _ in range(5):
        send_one(world)
        sent, world.chain.mempool = world.chain.mempool, []
        stage.hold(180)
        world.chain.mempool = sent
        stage.hold(60)
    stage.hold(600)


def verifier_changed(stage: Stage) -> None:
    stage.ill.restart()
    stage.revive(stage.ill)
    stage.ill.chain.change_code(stage.ill.model_id, b"other code")
    stage.ill.ask()
    stage.hold(60)


def nothing_more(stage: Stage) -> None:
    stage.hold(720)


TROUBLES: dict[str, tuple[Callable[[Stage], None], dict[str, Any]]] = {
    "OracleNodeDown": (node_down, {}),
    "OracleServiceHung": (service_hung, {}),
    "OracleNotReady": (endpoint_down, {}),
    "OracleServiceFails": (service_fails, {}),
    "OracleChainBehind": (watcher_slow, {}),
    "OracleHeadStale": (chain_stands_still, {}),
    "OracleClockDrift": (clock_wrong, {}),
    "OracleRpcErrors": (endpoint_fails_half, {}),
    "OracleBalanceLow": (balance_low, {}),
    "OracleTransactionReverted": (transaction_reverts, {}),
    "OracleTransactionStuck": (transaction_stuck, {}),
    "OracleNonceGap": (nonce_missing, {}),
    "OracleNonceUsedElsewhere": (nonce_used_elsewhere, {}),
    "OracleProofsFail": (proof_fails, {}),
    "OracleProverIdle": (prover_takes_nothing, {}),
    "OracleRequestsExpire": (request_expires, {}),
    "OracleRequestsFail": (proof_fails, {}),
    "OracleAnswersSlow": (answers_slow, {}),
    "OracleVerifierDiffers": (verifier_changed, {}),
    "OracleDiskLow": (nothing_more, {"min_disk_bytes": 2**61}),
    "OracleMemoryLow": (nothing_more, {"min_memory_bytes": 2**61}),
    "OracleSpendsMoreThanItEarns": (loses_money, {}),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_alert__trouble_that_it_is_for__fires_for_that_node_only(
    make_world: MakeWorld, rule: dict[str, Any]
) -> None:
    trouble, options = TROUBLES[rule["alert"]]
    stage = Stage(make_world, **options)
    stage.ill.ask()
    stage.hold(300)
    duration = seconds(rule.get("for", "0s"))
    if not options:
        assert stage.fires(rule["expr"], 0) == set(), "fires without a reason"
    trouble(stage)
    assert stage.fires(rule["expr"], duration) == {ILL}


def test_well_node__an_hour_of_answers__sets_nothing_off(make_world: MakeWorld) -> None:
    stage = Stage(make_world)
    stage.hold(3600, stage.ill.ask)
    firing = {rule["alert"] for rule in RULES if stage.fires(rule["expr"], 0)}
    assert firing == set()


@pytest.mark.parametrize("seconds", [7200, -7200])
def test_clock_wrong__blocks_come__does_not_blame_the_endpoints(
    make_world: MakeWorld, seconds: int
) -> None:
    """Operators D9: by such a clock the newest block is two hours old, or not made yet."""
    stage = Stage(make_world)
    stage.ill.clock = dataclasses.replace(stage.well.clock)
    stage.ill.restart()
    stage.revive(stage.ill)
    for _ in range(60):
        stage.ill.clock.now = stage.now + 60 + seconds
        stage.hold(60, stage.ill.ask)
    firing = {rule["alert"]: stage.fires(rule["expr"], 600) for rule in RULES}
    assert {name for name, nodes in firing.items() if nodes} == {"OracleClockDrift"}


def test_chain_stands_still__does_not_blame_the_clock(make_world: MakeWorld) -> None:
    stage = Stage(make_world)
    stage.hold(300)
    stage.mining = False
    stage.hold(3600)
    firing = {rule["alert"] for rule in RULES if stage.fires(rule["expr"], 300)}
    assert firing == {"OracleHeadStale"}


def test_lido__transaction_failure_alert__its_label_is_the_value_and_its_name_ends_in_total_once(
    make_world: MakeWorld,
) -> None:
    """There, the label was the enum's repr, and the exporter had added a second ``_total``."""
    stage = Stage(make_world)
    transaction_reverts(stage)
    (_, samples) = stage.prometheus.scrapes[-1]
    names = {dict(labels)[NAME] for labels in samples}
    assert "oracle_node_transactions_total" in names
    assert not [name for name in names if "total_total" in name]
    assert not [
        labels for labels in samples for _, value in labels if "." in value and "<" in value
    ]
    (count,) = [
        value
        for labels, value in samples.items()
        if {(NAME, "oracle_node_transactions_total"), ("result", "reverted"), ("instance", ILL)}
        <= labels
    ]
    assert count == 1


def test_well_known_states__are_all_there_at_zero_before_anything_happened(
    make_world: MakeWorld,
) -> None:
    """An alert on ``increase`` sees nothing of a series that begins at 1."""
    stage = Stage(make_world)
    stage.hold(60)
    (_, samples) = stage.prometheus.scrapes[-1]
    for rule in RULES:
        for selector in selectors(rule["expr"]):
            # Endpoints' names come with their first call.
            if "rpc" not in str(selector):
                assert any(matches(selector, labels) for labels in samples), rule["alert"]


def test_dashboard__is_what_grafana_reads() -> None:
    board = json.loads((OPS / "grafana.json").read_text())
    assert board["schemaVersion"] >= 36
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert {variable["name"] for variable in board["templating"]["list"]} == {
        "datasource",
        "instance",
    }
    assert len(panels()) >= 20


def test_metrics__names_have_their_unit_and_a_help_text(make_world: MakeWorld) -> None:
    stage = Stage(make_world)
    text = stage.ill.node.pages()["/metrics"]({}).body.decode()
    described = dict(re.findall(r"^# HELP (oracle_node_\w+) (.+)$", text, flags=re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (oracle_node_\w+) (\w+)$", text, flags=re.MULTILINE))
    assert set(described) == set(kinds)
    for name, kind in kinds.items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|mb|minutes|gwei|ether|total_total)\b", name)


def test_files__name_no_field_that_the_configuration_lacks() -> None:
    from oracle.config import NodeConfig

    example = (OPS / "node.toml").read_text()
    fields = set(re.findall(r"^(\w+) =", example, flags=re.MULTILINE))
    assert fields <= set(NodeConfig.model_fields)
    container = (OPS / "Containerfile").read_text()
    for name in re.findall(r"ORACLE_NODE__(\w+)", container):
        assert name.lower() in NodeConfig.model_fields
