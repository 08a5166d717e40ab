"""Reading the chain: ranges, limits, reorgs."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from oracle import checks
from oracle.chain.contracts import Status
from oracle.errors import ConfigError, OracleError, RpcLimit, RpcUncertain, RpcUnreachable
from oracle.log import make_logger
from oracle.node import Doorbell, Supervised
from oracle.testing_http import over_http

from .world import World


def read_all(world: World) -> None:
    while world.node.watcher.step():
        pass


def ranges(world: World, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The log queries made from now on."""
    found: list[tuple[int, int]] = []
    send = world.endpoint.send

    def record(method: str, params: list[Any]) -> Any:
        if method == "eth_getLogs":
            found.append((int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)))
        return send(method, params)

    monkeypatch.setattr(world.endpoint, "send", record)
    return found


def cursor(world: World) -> int:
    found = world.store.cursor()
    assert found is not None
    return found.block


def test_step__range_of_exactly_one_block__is_read(world: World) -> None:
    read_all(world)
    for _ in range(3):
        request_id = world.ask()
        read_all(world)
        assert world.state(request_id) == "seen"
        assert cursor(world) == world.chain.height


def test_step__many_blocks__covers_each_once(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(log_chunk=4)
    ids = []
    for _ in range(5):
        ids.append(world.ask())
        world.chain.mine(2)
    queries = ranges(world, monkeypatch)
    read_all(world)
    assert queries[:4] == [(0, 3), (4, 7), (8, 11), (12, 15)]
    assert [world.state(i) for i in ids] == ["seen"] * 5


def test_step__confirmations__leaves_young_blocks_alone(make_world: Callable[..., World]) -> None:
    world = make_world(confirmations=3)
    request_id = world.ask()
    world.chain.mine(2)
    read_all(world)
    assert world.store.request(request_id) is None
    world.chain.mine()
    read_all(world)
    assert world.state(request_id) == "seen"


def test_step__start_block__is_the_first_that_is_read(make_world: Callable[..., World]) -> None:
    world = make_world(start_block=3)
    early = world.ask()
    world.chain.mine()
    at_start = world.ask()
    read_all(world)
    assert world.store.request(early) is None
    assert world.state(at_start) == "seen"


def test_step__start_block_beyond_the_chain__is_said_and_nothing_is_green(
    make_world: Callable[..., World],
) -> None:
    world = make_world(start_block=50)
    with pytest.raises(ConfigError, match="start_block 50 is beyond the newest block"):
        world.node.watcher.step()
    assert "start_block 50" in (world.node.health.ready()["cursor"] or "")
    assert b"\noracle_node_cursor_lag_blocks" not in world.node.pages()["/metrics"]({}).body
    # Nothing was kept of it: the chain may come so far.
    world.chain.mine(60)
    request_id = world.ask()
    read_all(world)
    assert world.state(request_id) == "seen"


def test_readyz__store_that_began_beyond_the_chain__is_not_ready(world: World) -> None:
    world.store.start_cursor(3_999_999, 10)
    assert "nothing is read before block 4000000" in (world.node.health.ready()["cursor"] or "")


def test_check__start_block_beyond_the_chain__fails(world: World) -> None:
    with over_http(world.chain) as url:
        config = world.node._parts.config.model_copy(
            update={"rpc_urls": (url,), "start_block": 4_000_000}
        )
        found = {each.subject: each for each in checks.endpoints(config)}
    assert found["start"].error is not None
    assert "start_block 4000000 is beyond" in found["start"].detail


def test_step__nothing_new__asks_for_the_head_only(world: World) -> None:
    world.ask()
    read_all(world)
    world.endpoint.calls.clear()
    assert not world.node.watcher.step()
    assert world.endpoint.calls == ["eth_getBlockByNumber"]


def test_step__provider_limit__halves_then_grows_and_survives_a_restart(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(log_chunk=64)
    world.chain.mine(99)
    request_id = world.ask()
    world.chain.log_limit = 8
    queries = ranges(world, monkeypatch)
    read_all(world)
    assert world.state(request_id) == "seen"
    sizes = [last - first + 1 for first, last in queries]
    assert sizes[:5] == [64, 32, 16, 8, 9]
    assert cursor(world) == 100
    world.restart()
    found = world.store.cursor()
    assert found is not None
    assert found.chunk <= 9
    world.chain.log_limit = None
    world.chain.mine(400)
    read_all(world)
    found = world.store.cursor()
    assert found is not None
    assert 9 < found.chunk <= 64


class Narrow:
    """An endpoint whose log queries fail when they cover more blocks than it likes."""

    def __init__(self, world: World, most: int, error: Callable[[int], OracleError]) -> None:
        self.sizes: list[int] = []
        self._send = world.endpoint.send
        self._most, self._error = most, error
        world.endpoint.send = self.send  # type: ignore[method-assign]

    def send(self, method: str, params: list[Any]) -> Any:
        if method == "eth_getLogs":
            first, last = (int(params[0][end], 16) for end in ("fromBlock", "toBlock"))
            self.sizes.append(last - first + 1)
            if last - first + 1 > self._most:
                raise self._error(first)
        return self._send(method, params)


def test_step__words_that_no_list_has__halve_all_the_same(make_world: Callable[..., World]) -> None:
    """Operators' D4: a provider's limit in words of its own stopped the watcher at its start."""
    world = make_world(log_chunk=110)
    request_id = world.ask()
    world.chain.mine(108)
    narrow = Narrow(world, 10, lambda _: RpcUncertain("mind your manners"))
    read_all(world)
    assert world.state(request_id) == "seen"
    assert cursor(world) == world.chain.height
    assert narrow.sizes[:5] == [110, 55, 27, 13, 6]
    # A size that was refused is not tried at each turn.
    assert sum(size > 10 for size in narrow.sizes) <= 5


def test_step__range_that_the_provider_names__is_used_at_once(
    make_world: Callable[..., World],
) -> None:
    """Operators' D4: "this block range should work"."""
    world = make_world(log_chunk=110)
    request_id = world.ask()
    world.chain.mine(108)
    narrow = Narrow(world, 10, lambda _: RpcLimit("too wide", blocks=10))
    read_all(world)
    assert world.state(request_id) == "seen"
    assert narrow.sizes[:4] == [110, 10, 11, 10]
    assert sum(size > 10 for size in narrow.sizes) == 2


def test_step__large_ranges_time_out__are_halved_and_the_trouble_told(
    make_world: Callable[..., World],
) -> None:
    """Operators' D5: the same range was asked for again, for ever."""
    world = make_world(log_chunk=110)
    request_id = world.ask()
    world.chain.mine(108)
    narrow = Narrow(world, 10, lambda _: RpcUnreachable("answered HTTP 504"))
    failures = 0
    for _ in range(60):
        try:
            if not world.node.watcher.step():
                break
        except RpcUnreachable:
            failures += 1
    assert world.state(request_id) == "seen"
    assert cursor(world) == world.chain.height
    assert narrow.sizes[:5] == [110, 55, 27, 13, 6]
    assert 4 <= failures <= 6


def test_step__one_block_over_the_limit__says_so(world: World) -> None:
    read_all(world)
    world.ask()
    world.chain.log_limit = 0
    with pytest.raises(RpcLimit):
        world.node.watcher.step()


def test_step__fails_half_way__reads_the_same_range_again(world: World) -> None:
    request_id = world.ask()
    world.endpoint.fail("eth_getLogs", RpcUnreachable("down"))
    with pytest.raises(RpcUnreachable):
        world.node.watcher.step()
    assert world.store.request(request_id) is None
    read_all(world)
    assert world.state(request_id) == "seen"


def test_step__block_replaced_while_reading__reads_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all(world)
    request_id = world.ask()
    send = world.endpoint.send

    def reorganise_then_answer(method: str, params: list[Any]) -> Any:
        answer = send(method, params)
        if method == "eth_getLogs":
            monkeypatch.undo()
            world.chain.reorg(1, keep=False)
        return answer

    monkeypatch.setattr(world.endpoint, "send", reorganise_then_answer)
    read_all(world)
    assert world.store.request(request_id) is None
    assert cursor(world) == world.chain.height


def test_reorg__request_gone__is_orphaned(world: World) -> None:
    kept = world.ask()
    lost = world.ask()
    read_all(world)
    world.chain.reorg(1, keep=False)
    read_all(world)
    assert world.state(kept) == "seen"
    assert world.state(lost) == "orphaned"


def test_reorg__same_height__is_noticed(world: World) -> None:
    request_id = world.ask()
    world.settle()
    height = world.chain.height
    # Drops the fulfilment and the request.
    world.chain.reorg(2, keep=False)
    assert world.chain.height == height
    world.settle()
    assert world.state(request_id) == "orphaned"


def test_reorg__request_mined_again__reuses_its_proof(world: World) -> None:
    request_id = world.ask()
    world.chain.automine = False
    world.until(lambda: world.state(request_id) == "pending")
    world.chain.mempool.clear()
    world.chain.reorg(1, keep=True)
    world.chain.automine = True
    world.settle()
    # Its transaction was lost with the reorg and is replaced when it seems stuck.
    world.clock.now += 61
    world.settle()
    assert "orphaned" in world.trail(request_id)
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    assert len(world.prover.submitted) == 1


def test_reorg__fulfilment_dropped__is_sent_again_without_a_second_proof(world: World) -> None:
    request_id = world.ask()
    world.settle()
    assert world.state(request_id) == "final"
    world.chain.reorg(1, keep=False)
    assert world.chain.fulfilments(request_id) == 0
    world.settle()
    assert world.chain.fulfilments(request_id) == 1
    assert world.state(request_id) == "final"
    assert len(set(world.chain.received)) == 1
    assert len(world.prover.submitted) == 1


def test_reorg__end_by_another_undone__is_taken_up_again(world: World) -> None:
    request_id = world.ask()
    world.chain.end(request_id)
    world.settle()
    assert world.state(request_id) == "lost"
    world.chain.reorg(1, keep=False)
    world.settle()
    assert world.trail(request_id)[-1] == "final"
    assert world.chain.fulfilments(request_id) == 1


def test_reorg__deeper_than_every_known_block__reads_from_the_start(world: World) -> None:
    request_id = world.ask()
    read_all(world)
    world.chain.reorg(world.chain.height, keep=False)
    read_all(world)
    assert world.state(request_id) == "orphaned"
    assert cursor(world) == world.chain.height


def test_endpoint_behind_the_cursor__is_not_taken_for_a_reorg(world: World) -> None:
    request_id = world.ask()
    read_all(world)
    late = world.chain.send("eth_getBlockByNumber", ["0x0", False])
    send = world.endpoint.send

    def answer(method: str, params: list[Any]) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            return late
        return send(method, params)

    world.endpoint.send = answer  # type: ignore[method-assign]
    assert not world.node.watcher.step()
    assert world.state(request_id) == "seen"


@pytest.mark.parametrize(
    ("status", "state"), [(Status.FULFILLED, "lost"), (Status.REFUNDED, "cancelled")]
)
def test_request_ended_before_it_was_read__is_not_proved(
    world: World, status: Status, state: str
) -> None:
    request_id = world.ask()
    world.chain.end(request_id, status)
    world.settle()
    assert world.state(request_id) == state
    assert world.prover.submitted == []


def test_request_ended_in_a_later_chunk__is_not_proved(make_world: Callable[..., World]) -> None:
    world = make_world(log_chunk=2)
    request_id = world.ask()
    world.chain.mine(20)
    world.chain.end(request_id)
    world.settle()
    assert world.state(request_id) == "lost"
    assert world.prover.submitted == []


@pytest.mark.parametrize("confirmations", [0, 2])
def test_reorg__request_and_this_nodes_answer_are_mined_again__it_is_still_this_nodes(
    make_world: Callable[..., World], confirmations: int
) -> None:
    world = make_world(confirmations=confirmations)
    request_id = world.ask()
    world.chain.mine(confirmations)
    world.settle()
    assert world.chain.fulfilments(request_id) == 1
    world.chain.reorg(world.chain.height, keep=True)
    for _ in range(confirmations + 1):
        world.settle()
        world.chain.mine()
    world.settle()
    assert world.state(request_id) == "final"
    assert world.chain.fulfilments(request_id) == 1
    assert len(set(world.chain.received)) == 1


def hold_back_logs(world: World, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """An endpoint whose next answers to log queries lack the last request's events."""
    send, left = world.endpoint.send, [times]

    def answer(method: str, params: list[Any]) -> Any:
        result = send(method, params)
        if method == "eth_getLogs" and result and left[0]:
            left[0] -= 1
            return result[:-2]
        return result

    monkeypatch.setattr(world.endpoint, "send", answer)


def test_events_held_back__are_found_at_the_second_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all(world)
    world.chain.automine = False
    first, second = world.ask(), world.ask()
    world.chain.mine()
    hold_back_logs(world, monkeypatch, 1)
    read_all(world)
    assert world.state(first) == "seen"
    assert world.store.request(second) is None
    world.chain.mine(16)
    read_all(world)
    assert world.state(second) == "seen"
    assert world.events()[-1]["event"] == "an endpoint had held events back"


def test_events_held_back_before_a_restart__are_found_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.chain.mine(20)
    world.chain.automine = False
    world.ask()
    missed = world.ask()
    world.chain.mine()
    # At the second look, which has just been due, too.
    hold_back_logs(world, monkeypatch, 2)
    read_all(world)
    assert world.store.request(missed) is None
    world.restart()
    world.node.watcher.step()
    read_all(world)
    assert world.state(missed) == "seen"


def test_mined_again_but_held_back__is_taken_up_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all(world)
    lost = world.ask()
    read_all(world)
    world.chain.reorg(1, keep=False)
    read_all(world)
    assert world.state(lost) == "orphaned"
    world.chain.automine = False
    world.ask()
    world.chain.mine()
    world.chain._blocks[-1].actions.append(world.chain._dropped[lost])
    world.chain._replay()
    hold_back_logs(world, monkeypatch, 1)
    read_all(world)
    assert world.state(lost) == "orphaned"
    world.chain.mine(16)
    read_all(world)
    assert world.state(lost) == "seen"


def test_second_look__finds_the_same__changes_nothing(world: World) -> None:
    topped_up = world.ask()
    world.chain.top_up(topped_up, 5)
    world.chain.top_up(topped_up, 7)
    ended = world.ask()
    world.chain.end(ended)
    read_all(world)
    rows = [world.row(i) for i in (topped_up, ended)]
    trails = [world.trail(i) for i in (topped_up, ended)]
    world.chain.mine(40)
    read_all(world)
    assert [world.row(i) for i in (topped_up, ended)] == rows
    assert [world.trail(i) for i in (topped_up, ended)] == trails
    world.chain.reorg(44, keep=True)
    read_all(world)
    assert world.row(topped_up).request.gas_money == rows[0].request.gas_money


def test_second_look__an_endpoint_remembers_a_dropped_branch__nothing_of_it_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all(world)
    dropped = world.ask()
    send, remembered = world.endpoint.send, []

    def answer(method: str, params: list[Any]) -> Any:
        result = send(method, params)
        if method == "eth_getLogs" and result and not remembered:
            remembered.extend(result)
        return [*remembered] if method == "eth_getLogs" else result

    monkeypatch.setattr(world.endpoint, "send", answer)
    read_all(world)
    monkeypatch.setattr(world.endpoint, "send", send)
    assert remembered
    world.chain.reorg(1, keep=False)
    world.chain.mine(40)

    read_all(world)
    assert world.state(dropped) == "orphaned"
    world.restart()
    monkeypatch.setattr(world.endpoint, "send", answer)
    with contextlib.suppress(OracleError):
        read_all(world)
    assert world.state(dropped) == "orphaned"


def test_second_look__reads_old_blocks_once_more_and_no_more(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(log_chunk=100)
    world.chain.mine(999)
    queries = ranges(world, monkeypatch)
    read_all(world)
    assert queries[10:] == [(i, i + 15) for i in range(744, 1000, 16)]
    queries.clear()
    for _ in range(16):
        world.chain.mine()
        read_all(world)
    assert queries == [*((i, i) for i in range(1000, 1016)), (1000, 1015)]


@pytest.mark.parametrize("error", [RpcLimit("too many"), RpcUnreachable("down")])
def test_log_queries_that_always_fail__are_few_in_a_day(world: World, error: OracleError) -> None:
    """46 million failed queries a day have been seen elsewhere."""
    world.ask()
    world.endpoint.fail("eth_getLogs", error, times=10**9)
    day = world.clock.now + 24 * 3600

    class Stop:
        def is_set(self) -> bool:
            return world.clock.now >= day

        def wait(self, seconds: float) -> None:
            world.clock.now += seconds

    class Bell(Doorbell):
        def wait(self, heard: int, timeout: float) -> None:
            world.clock.now += timeout

    Supervised(
        "watcher",
        world.node.watcher,
        doorbell=Bell(),
        stop=Stop(),  # type: ignore[arg-type]
        interval=lambda: 2.0,
        log=make_logger(io.StringIO()),
    ).run()
    assert 0 < world.endpoint.calls.count("eth_getLogs") < 3000


def test_endpoints_of_two_chains_in_turn__cost_no_more_than_polling(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.chain.mine(5)
    world.ask()
    read_all(world)
    send, turns = world.endpoint.send, itertools.count()

    def answer(method: str, params: list[Any]) -> Any:
        result = send(method, params)
        if method == "eth_getBlockByNumber" and next(turns) % 2:
            return {**result, "hash": "0x" + "ee" * 32}
        return result

    monkeypatch.setattr(world.endpoint, "send", answer)
    world.endpoint.calls.clear()
    steps = 0
    while world.node.watcher.step():
        steps += 1
        assert steps < 10
    assert len(world.endpoint.calls) < 50
