"""The budget and the rests of one endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from oracle.chain.pacing import LONGEST_ASKED, LONGEST_REST, Rest, Span, TokenBucket
from oracle.chain.rpc import Rpc, Transport
from oracle.errors import RpcRejected, RpcThrottled, RpcUnreachable, WrongChain


@dataclass
class Clock:
    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Scripted:
    """An endpoint that does what its script says, then answers with the balance ``0x2a``."""

    def __init__(self, *script: Exception, chain_id: int = 1) -> None:
        self.script = list(script)
        self.chain_id = chain_id
        self.calls: list[str] = []

    def send(self, method: str, params: list[Any]) -> Any:
        self.calls.append(method)
        if method == "eth_chainId":
            return hex(self.chain_id)
        if self.script:
            raise self.script.pop(0)
        return "0x2a"

    @property
    def asked(self) -> int:
        return self.calls.count("eth_getBalance")


def rpc(clock: Clock, *endpoints: Transport, **options: Any) -> Rpc:
    by_url = {f"http://e{i}": endpoint for i, endpoint in enumerate(endpoints)}
    return Rpc(
        list(by_url),
        1,
        transport=lambda access, _: by_url[access.url],
        clock=clock,
        sleep=clock.sleep,
        **options,
    )


def test_bucket__burst_then_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(2.0, 3, clock)
    waits = []
    for _ in range(6):
        waits.append(bucket.take())
        clock.now += waits[-1]
    assert waits == [0, 0, 0, 0.5, 0.5, 0.5]
    clock.now += 100
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]


def test_bucket__longer_wait_than_patience__takes_nothing() -> None:
    bucket = TokenBucket(1.0, 1, Clock())
    assert [bucket.take(1.5) for _ in range(4)] == [0, 1, 2, 2]
    assert bucket.take() == 2


def test_rpc__budget_that_earns_no_call_in_time__is_said_and_not_waited_for() -> None:
    """Operators' check was silent for hours: the time of a call is the whole call's."""
    clock = Clock()
    asked = rpc(clock, Scripted(), rate=0.0001, burst=1)
    before = clock.now
    # The one call that it has is for the chain's id.
    with pytest.raises(RpcThrottled, match=r"budget of .* is spent") as caught:
        asked.balance("0x")
    assert clock.now == before
    assert "rpc_requests_per_second" in caught.value.line()


def test_bucket__several_who_wait__queue_up() -> None:
    bucket = TokenBucket(1.0, 1, Clock())
    assert [bucket.take() for _ in range(4)] == [0, 1, 2, 3]


def test_rest__doubles_to_a_limit_and_begins_anew_after_an_answer() -> None:
    clock = Clock()
    rest = Rest(clock)
    lengths = []
    for _ in range(9):
        rest.begin()
        lengths.append(rest.left)
        clock.now += rest.left
    assert lengths == [1, 2, 4, 8, 16, 32, *[LONGEST_REST] * 3]
    rest.end()
    rest.begin()
    assert rest.left == 1


def test_rest__asked_for__is_obeyed_but_not_for_ever() -> None:
    clock = Clock()
    rest = Rest(clock)
    rest.obey(7)
    assert (rest.left, rest.is_asked) == (7, True)
    rest.obey(10**9)
    assert rest.left == LONGEST_ASKED


def test_rest__asked_for_without_a_time__grows_as_our_own() -> None:
    clock = Clock()
    rest = Rest(clock)
    for expected in (1, 2, 4):
        rest.obey(None)
        assert rest.left == expected
        clock.now += expected


def test_endless_calls__cost_no_more_than_the_rate() -> None:
    clock, endpoint = Clock(), Scripted()
    asked = rpc(clock, endpoint, rate=5.0, burst=10)
    started = clock.now
    while clock.now - started < 60:
        asked.balance("0x")
    assert len(endpoint.calls) <= 10 + 5 * 61


def test_failed_endpoint__is_left_alone_and_has_its_turn_again_after_its_rest() -> None:
    clock = Clock()
    best, spare = Scripted(RpcUnreachable("down")), Scripted()
    asked = rpc(clock, best, spare)
    for _ in range(3):
        asked.balance("0x")
    assert (best.asked, spare.asked) == (1, 3)
    clock.now += 1.5
    asked.balance("0x")
    assert (best.asked, spare.asked) == (2, 3)


def test_failing_endpoint__is_tried_more_and_more_rarely() -> None:
    clock = Clock()
    best = Scripted(*[RpcUnreachable("down")] * 1000)
    asked = rpc(clock, best, Scripted())
    for _ in range(3600):
        asked.balance("0x")
        clock.now += 1
    assert best.asked < 70


def test_alone_and_failed__is_asked_all_the_same() -> None:
    asked = rpc(Clock(), Scripted(RpcUnreachable("down")))
    with pytest.raises(RpcUnreachable):
        asked.balance("0x")
    assert asked.balance("0x") == 42


def test_throttled__is_not_asked_before_its_time_even_if_alone() -> None:
    clock, endpoint = Clock(), Scripted(RpcThrottled("slow down", retry_after=30))
    asked = rpc(clock, endpoint)
    for _ in range(10):
        with pytest.raises(RpcThrottled):
            asked.balance("0x")
        clock.now += 2.9
    assert endpoint.asked == 1
    clock.now += 2
    assert asked.balance("0x") == 42


def test_throttled__the_next_answers_meanwhile() -> None:
    clock, spare = Clock(), Scripted()
    best = Scripted(RpcThrottled("slow down", retry_after=30))
    asked = rpc(clock, best, spare)
    for _ in range(5):
        assert asked.balance("0x") == 42
    assert (best.asked, spare.asked) == (1, 5)


def test_rejected__is_an_answer_and_no_reason_to_rest() -> None:
    best, spare = Scripted(RpcRejected("reverted")), Scripted()
    asked = rpc(Clock(), best, spare)
    with pytest.raises(RpcRejected):
        asked.balance("0x")
    asked.balance("0x")
    assert (best.asked, spare.asked) == (2, 0)


def test_chain_id__is_asked_for_again_after_a_failure() -> None:
    clock, best = Clock(), Scripted(RpcUnreachable("down"))
    asked = rpc(clock, best, Scripted())
    asked.balance("0x")
    best.chain_id = 2
    clock.now += 10
    assert asked.balance("0x") == 42
    assert best.asked == 1
    assert best.calls[-1] == "eth_chainId"


def test_wrong_chain_on_one__others_answer() -> None:
    wrong = Scripted(chain_id=2)
    assert rpc(Clock(), wrong, Scripted()).balance("0x") == 42
    assert wrong.asked == 0


def test_require_one_chain__any_wrong_endpoint_is_refused_and_one_that_is_down_is_not() -> None:
    down, wrong = Scripted(), Scripted(chain_id=2)
    down.send = _down  # type: ignore[method-assign]
    rpc(Clock(), Scripted(), down).require_one_chain()
    with pytest.raises(WrongChain):
        rpc(Clock(), Scripted(), down, wrong).require_one_chain()


def _down(method: str, params: list[Any]) -> Any:
    raise RpcUnreachable("down")


def test_wrong_chain__is_told_rather_than_that_another_is_down() -> None:
    with pytest.raises(WrongChain):
        rpc(Clock(), Scripted(chain_id=2), Scripted(RpcUnreachable("down"))).balance("0x")


def test_span__halves_until_answered_and_grows_to_below_what_was_refused() -> None:
    span, sizes = Span(), []
    for _ in range(12):
        blocks = min(span.most, 64)
        sizes.append(blocks)
        if blocks > 8:
            span.failed(blocks, refused=True)
        else:
            span.answered(blocks)
    assert sizes == [64, 32, 16, 8, 9, 8, 8, 8, 8, 8, 8, 8]


def test_span__what_was_refused_is_tried_again_but_rarely() -> None:
    span = Span()
    refused = 0
    for _ in range(400):
        blocks = min(span.most, 1000)
        if blocks > 10:
            refused += 1
            span.failed(blocks, suggested=10, refused=True)
        else:
            span.answered(blocks)
    assert 1 < refused < 400 // 20
    for _ in range(300):
        span.answered(min(span.most, 1000))
    assert span.most >= 1000


def test_span__suggestion_that_is_no_smaller__is_none() -> None:
    span = Span()
    span.failed(10, suggested=10, refused=True)
    assert span.most == 5
    span.failed(5, suggested=0, refused=True)
    assert span.most == 2


def test_span__endpoint_was_down__comes_back_to_what_it_took() -> None:
    span = Span()
    span.answered(1000)
    for _ in range(20):
        span.failed(max(2, min(span.most, 1000)), refused=False)
    assert span.most == 1
    for _ in range(120):
        span.answered(min(span.most, 1000))
    assert span.most >= 1000
