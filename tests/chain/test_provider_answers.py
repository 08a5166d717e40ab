"""What real providers answer: taken over by the next endpoint, told, and over when they recover.

Mends operators' D1 (an expired key, a missing state), D2 (a second opinion that is an error) and D4
(limits of log queries in anybody's words) as one kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from oracle import tensor
from oracle.chain.contracts import OracleContract
from oracle.chain.rpc import Rpc
from oracle.errors import ChainError, RpcLimit, RpcRejected, RpcThrottled, RpcUnreachable
from oracle.testing import ORACLE, FakeChain
from tests.node.world import VERIFIER_CODE, spec
from tests.providers import ANSWERS, EXECUTIONS, TAKEN, Answer, Provider, name_of, serving

#: Longer than any rest.
LONG = 4000.0
LAST = 9


@dataclass
class Place:
    """Two endpoints of one chain, in whatever state."""

    chain: FakeChain
    first: Provider
    second: Provider
    urls: list[str]
    now: float = 0.0
    #: By name: the reads, and the calls that they make.
    reads: dict[str, tuple[str, Callable[[Rpc], Any]]] = field(default_factory=dict)

    def rpc(self, *urls: str) -> Rpc:
        return Rpc(urls or self.urls, self.chain.chain_id, clock=lambda: self.now)

    def all(self, rpc: Rpc) -> dict[str, Any]:
        """What every read comes to, each with the endpoints' turn anew."""
        found: dict[str, Any] = {}
        for name, (_, read) in self.reads.items():
            self.now += LONG
            try:
                found[name] = read(rpc)
            except ChainError as error:
                found[name] = error
        return found


def wide(rpc: Rpc) -> list[Any]:
    """Events of many blocks, in the ranges that are taken."""
    found: list[Any] = []
    first, step = 0, LAST + 1
    while first <= LAST:
        last = min(first + step - 1, LAST)
        try:
            found += OracleContract(rpc, ORACLE).events(first, last)
        except (RpcLimit, RpcUnreachable) as error:
            if first == last:
                raise
            limit = error.blocks if isinstance(error, RpcLimit) else None
            step = limit or (last - first + 1) // 2
            continue
        first = last + 1
    return found


@pytest.fixture(scope="module")
def whole() -> Iterator[Place]:
    chain = FakeChain(clock=lambda: 1_700_000_000)
    model = chain.register(spec(), verifier_code=VERIFIER_CODE)
    request = chain.request(model, tensor.pack((1, 2), 4))
    chain.mine(LAST - chain.height)
    first, second = Provider(chain), Provider(chain)
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(each)) for each in (first, second)]
        found = Place(chain, first, second, urls)
        found.reads = {
            "head": ("eth_getBlockByNumber", lambda rpc: rpc.head()),
            "receipt": ("eth_getTransactionReceipt", lambda rpc: rpc.receipt(b"h" * 32)),
            "logs": ("eth_getLogs", lambda rpc: OracleContract(rpc, ORACLE).events(1, 1)),
            "wide logs": ("eth_getLogs", wide),
            "call": ("eth_call", lambda rpc: OracleContract(rpc, ORACLE).status(request)),
            "code": ("eth_getCode", lambda rpc: rpc.code(ORACLE)),
            "balance": ("eth_getBalance", lambda rpc: rpc.balance(ORACLE)),
            "nonce": ("eth_getTransactionCount", lambda rpc: rpc.nonce(ORACLE)),
            "fee history": ("eth_feeHistory", lambda rpc: rpc.fee_history(4, 50)),
            "tip": ("eth_maxPriorityFeePerGas", lambda rpc: rpc.priority_fee()),
        }
        yield found


@pytest.fixture
def place(whole: Place) -> Place:
    for each in (whole.first, whole.second):
        each.answer = None
        each.calls.clear()
    return whole


def test_collection__is_large_and_says_where_each_is_from() -> None:
    assert len(ANSWERS) >= 40 + 38
    assert {answer.when for answer in ANSWERS} == {"range", "reads", "state", "fees"}
    assert all(answer.source for answer in ANSWERS + EXECUTIONS)


@pytest.mark.parametrize("answer", ANSWERS, ids=name_of)
def test_first_endpoint_so__every_read_is_taken_over_and_the_trouble_told(
    place: Place, answer: Answer
) -> None:
    good = place.all(place.rpc(place.urls[1]))
    assert not [value for value in good.values() if isinstance(value, ChainError)]
    rpc = place.rpc()
    place.first.answer = answer
    rpc.require_one_chain()
    for name, (method, read) in place.reads.items():
        place.now += LONG
        place.first.calls.clear()
        assert read(rpc) == good[name], name
        if answer.when != "range" and answer.is_given_to(method, [{}]):
            # It was its turn, it was asked, and it rests now; but too large a query is no reason,
            # and one that lacks a method has the others.
            assert place.first.calls
            first, second = rpc.health()
            assert answer.words in first.trouble
            assert "the-api-key" not in first.trouble
            assert first.resting > 0 or name == "wide logs" or answer.code == -32601
            assert (second.trouble, second.resting) == ("", 0)
    place.first.answer = None
    assert place.all(rpc) == good
    assert [each.trouble for each in rpc.health()] == ["", ""]
    place.second.calls.clear()
    place.now += LONG
    rpc.balance(ORACLE)
    assert place.second.calls == []


@pytest.mark.sampled(25)
@pytest.mark.parametrize("answer", ANSWERS, ids=name_of)
def test_second_endpoint_so__takes_nothing_from_what_the_first_answers(
    place: Place, answer: Answer
) -> None:
    """Operators' D2: a second opinion that is an error stopped the watcher for ever."""
    good = place.all(place.rpc(place.urls[0]))
    place.second.answer = answer
    assert place.all(place.rpc()) == good


@pytest.mark.sampled(40)
@pytest.mark.parametrize("answer", ANSWERS, ids=name_of)
def test_both_endpoints_so__is_told_and_over_when_they_recover(
    place: Place, answer: Answer
) -> None:
    good = place.all(place.rpc(place.urls[0]))
    rpc = place.rpc()
    place.first.answer = place.second.answer = answer
    found = place.all(rpc)
    for name, (method, _) in place.reads.items():
        if answer.when == "range" or not answer.is_given_to(method, [{}]):
            assert found[name] == good[name], name
        elif name == "tip" and answer.when == "fees":
            # What the gas price leaves is as good.
            assert found[name] == good[name]
        else:
            assert isinstance(found[name], ChainError), name
            assert answer.words in found[name].line()
            assert "the-api-key" not in found[name].line()
    place.first.answer = place.second.answer = None
    assert place.all(rpc) == good
    assert [each.trouble for each in rpc.health()] == ["", ""]


@pytest.mark.parametrize("answer", EXECUTIONS, ids=name_of)
def test_what_a_call_came_to__is_the_chains_word_and_no_other_is_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(Answer, "is_given_to", lambda _, method, __: method == "eth_call")
    place.first.answer = answer
    rpc = place.rpc()
    with pytest.raises(RpcRejected) as caught:
        rpc.call(ORACLE, b"1234", read=bytes)
    assert caught.value.executed
    assert not caught.value.transient
    assert "eth_call" not in place.second.calls
    # A contract may say what it likes: its words make no endpoint rest.
    assert [each.resting for each in rpc.health()] == [0, 0]


@pytest.mark.parametrize(
    "message", ["a word that nobody knows", "Internal error", "max depth of the frob exceeded"]
)
def test_call_that_every_endpoint_refuses_alike__rests_none(
    place: Place, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    monkeypatch.setattr(Answer, "is_given_to", lambda _, method, __: method == "eth_call")
    place.first.answer = place.second.answer = Answer("call", 200, -32000, message, "a contract")
    rpc = place.rpc()
    for _ in range(5):
        with pytest.raises(RpcRejected) as caught:
            rpc.call(ORACLE, b"1234", read=bytes)
        assert not caught.value.executed
        assert [each.resting for each in rpc.health()] == [0, 0]
    rpc.balance(ORACLE)
    assert place.first.calls[-1] == "eth_getBalance"


def test_call_refused_by_the_only_one_that_is_up__is_not_held_for_the_last_word(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.first.answer = Answer("reads", 200, -32000, "no such thing", "")
    place.second.answer = Answer("reads", 503, None, "", "", body="")
    with pytest.raises(RpcRejected) as caught:
        place.rpc().balance(ORACLE)
    assert (caught.value.code, caught.value.transient) == ("RPC_UNCERTAIN", True)


@pytest.mark.parametrize("http", [401, 402, 403])
def test_refused_by_http__is_the_endpoints_whatever_the_body_says(place: Place, http: int) -> None:
    place.first.answer = Answer("reads", http, 3, "execution reverted", "", data="0x01")
    rpc = place.rpc(place.urls[0])
    with pytest.raises(RpcUnreachable) as caught:
        rpc.call(ORACLE, b"1234", read=bytes)
    assert "key" in caught.value.line()
    assert rpc.health()[0].resting > 0


def test_sending__keeps_the_word_of_the_pool_that_was_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answer, "is_given_to", lambda _, method, __: "sendRaw" in method)
    place.first.answer = Answer("sending", 200, -32000, "transaction underpriced", "geth")
    with pytest.raises(RpcRejected, match="underpriced"):
        place.rpc().send_raw(b"raw")
    assert "eth_sendRawTransaction" not in place.second.calls


def test_many_blocks__a_limit_is_learnt_once_and_kept_by_endpoint(place: Place) -> None:
    """Operators' D4, and no query that is known to be refused is sent again."""
    refused = next(each for each in ANSWERS if "should work: [0x1, 0x3]" in each.message)
    place.first.answer = refused
    rpc = place.rpc()
    for _ in range(4):
        place.now += LONG
        OracleContract(rpc, ORACLE).events(0, LAST)
    assert place.first.calls.count("eth_getLogs") == 1
    assert place.second.calls.count("eth_getLogs") == 4
    alone = place.rpc(place.urls[0])
    place.first.calls.clear()
    wide(alone)
    # Refused once; then four ranges of what it said it takes.
    assert place.first.calls.count("eth_getLogs") == 1 + -(-(LAST + 1) // TAKEN)


def test_throttled__is_told_in_the_providers_words(place: Place) -> None:
    place.first.answer = next(each for each in ANSWERS if each.http == 429)
    with suppress(RpcThrottled):
        place.rpc(place.urls[0]).balance(ORACLE)
    rpc = place.rpc(place.urls[0])
    with pytest.raises(RpcThrottled, match="Monthly capacity"):
        rpc.balance(ORACLE)
