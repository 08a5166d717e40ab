"""Truncated and lying answers to log queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from oracle.chain.evidence import Block, Log, LogQuery, bloom_bits, union
from oracle.chain.rpc import Rpc
from oracle.errors import RpcLimit, RpcUnreachable

ADDRESS = "0x" + "0a" * 20
TOPIC, OTHER = b"\x11" * 32, b"\x22" * 32
HASH = b"\x33" * 32


def bloom(*items: bytes) -> int:
    return sum(1 << bit for bit in {bit for item in items for bit in bloom_bits(item)})


def block(number: int, *logs: Log) -> Block:
    items = [bytes.fromhex(log.address[2:]) for log in logs]
    items += [topic for log in logs for topic in log.topics]
    return Block(number, HASH, b"", 0, 0, 0, bloom(*items, b"somebody else's"))


def log(number: int = 5, index: int = 0, topic: bytes = TOPIC, **changes: Any) -> Log:
    return replace(Log(ADDRESS, (topic,), b"", number, HASH, b"t" * 32, index), **changes)


def raw(*logs: Log) -> list[dict[str, Any]]:
    return [
        {
            "address": each.address,
            "topics": ["0x" + topic.hex() for topic in each.topics],
            "data": "0x",
            "blockNumber": hex(each.block_number),
            "blockHash": "0x" + each.block_hash.hex(),
            "transactionHash": "0x" + each.transaction_hash.hex(),
            "logIndex": hex(each.log_index),
        }
        for each in logs
    ]


class Fixed:
    """An endpoint that gives these answers to log queries, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    def send(self, method: str, params: list[Any]) -> Any:
        if method == "eth_chainId":
            return "0x1"
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def rpc(*endpoints: Fixed, **options: Any) -> Rpc:
    by_url = {f"http://e{i}": endpoint for i, endpoint in enumerate(endpoints)}
    return Rpc(list(by_url), 1, transport=lambda access, _: by_url[access.url], **options)


def query(*headers: Block, first: int = 5, last: int = 6) -> LogQuery:
    return LogQuery(ADDRESS, (TOPIC, OTHER), first, last, headers)


@pytest.mark.parametrize(
    "lie",
    [
        log(7),
        log(4),
        log(address="0x" + "0b" * 20),
        log(topic=b"\x44" * 32),
        log(block_hash=b"\x55" * 32),
    ],
)
def test_check__log_that_was_not_asked_for_or_is_of_another_chain__is_refused(lie: Log) -> None:
    with pytest.raises(ValueError, match="a log of"):
        query(block(5, log(5)), block(6)).check([lie])


def test_check__log_twice__is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        query().check([log(), log()])


def test_check__two_hashes_of_one_block__are_refused() -> None:
    with pytest.raises(ValueError, match="not the chain's"):
        query().check([log(), log(index=1, block_hash=b"\x55" * 32)])


def test_check__log_that_its_block_does_not_vouch_for__is_refused() -> None:
    with pytest.raises(ValueError, match="does not have"):
        query(block(5)).check([log()])


def test_check__chain_without_blooms__is_believed() -> None:
    query(replace(block(5), logs_bloom=0)).check([log()])
    assert not query(replace(block(5), logs_bloom=0)).silent([])


def test_silent__only_where_a_block_vouches_for_more() -> None:
    headers = block(5, log(5)), block(6)
    assert query(*headers).silent([])
    assert not query(*headers).silent([log()])
    assert query(block(5, log(), log(topic=OTHER))).silent([log()])


def test_further_topics__are_asked_for_and_looked_for_in_blooms() -> None:
    further = b"\x66" * 32
    header = block(5, log(5))
    narrow = replace(query(header), indexed=(None, further))
    assert narrow.parameters["topics"] == [
        *(["0x" + topic.hex() for topic in (TOPIC, OTHER)], None, "0x" + further.hex())
    ]
    assert query(header).silent([])
    assert not narrow.silent([])


def test_union__has_each_log_once_in_order() -> None:
    assert union([[log(6), log(5)], [log(5), log(5, 1)]]) == [log(5), log(5, 1), log(6)]


def test_union__of_two_chains__is_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        union([[log()], [log(index=1, block_hash=b"\x55" * 32)]])


def test_logs__cut_short_by_one__are_taken_from_the_other() -> None:
    for first, second in (([], [log()]), ([log()], []), ([log()], [log(), log(6)])):
        asked = rpc(Fixed(raw(*first)), Fixed(raw(*second)))
        assert asked.logs(query()) == sorted({*first, *second}, key=lambda x: x.place)


def test_logs__cut_short_by_two_of_three__are_looked_for_on_the_third() -> None:
    third = Fixed(raw(log()))
    assert rpc(Fixed([]), Fixed([]), third).logs(query(block(5, log()))) == [log()]
    unneeded = Fixed(raw())
    rpc(Fixed([]), Fixed([]), unneeded).logs(query(block(5)))
    assert unneeded.asked == 0


def test_logs__cut_short_by_the_only_one__are_asked_for_again() -> None:
    endpoint = Fixed([], raw(log()))
    assert rpc(endpoint).logs(query(block(5, log()))) == [log()]
    quiet = Fixed([])
    rpc(quiet).logs(query(block(5)))
    assert quiet.asked == 1


def test_logs__lie__is_no_answer() -> None:
    liar = Fixed(raw(log(block_hash=b"\x55" * 32)))
    with pytest.raises(RpcUnreachable):
        rpc(liar).logs(query(block(5, log())))
    asked = rpc(liar, Fixed(raw(log())))
    assert asked.logs(query(block(5, log()))) == [log()]
    assert [each.failures for each in asked.health()] == [1, 0]


def test_logs__endpoints_of_different_chains__the_better_one_counts() -> None:
    asked = rpc(Fixed(raw(log())), Fixed(raw(log(block_hash=b"\x55" * 32))))
    assert asked.logs(query()) == [log()]
    assert [each.failures for each in asked.health()] == [0, 1]


def test_logs__removed__are_no_answer() -> None:
    removed = [raw(log())[0] | {"removed": True}]
    with pytest.raises(RpcUnreachable):
        rpc(Fixed(removed)).logs(query())


def test_logs__second_opinion__is_not_needed() -> None:
    asked = rpc(Fixed(raw(log())), Fixed(RpcUnreachable("down")))
    assert asked.logs(query()) == [log()]
    alone = Fixed(raw(log()))
    spare = Fixed([])
    assert rpc(alone, spare, cross_check=False).logs(query()) == [log()]
    assert spare.asked == 0


def test_logs__limit_for_a_range__another_may_take_it() -> None:
    small, spare = Fixed(RpcLimit("too many")), Fixed([])
    asked = rpc(small, spare)
    assert asked.logs(query()) == []
    # What is known to be too much is not asked for again, and is no reason to rest.
    assert asked.logs(query()) == []
    assert (small.asked, spare.asked) == (1, 2)
    assert [each.resting for each in asked.health()] == [0, 0]


def test_logs__limit_of_every_endpoint__is_told_with_the_most_that_one_takes() -> None:
    few, more = Fixed(RpcLimit("too many", blocks=3)), Fixed(RpcLimit("too many", blocks=30))
    asked = rpc(few, more)
    for _ in range(2):
        with pytest.raises(RpcLimit) as caught:
            asked.logs(query(first=1, last=100))
        assert caught.value.blocks == asked.most_blocks == 30
    assert (few.asked, more.asked) == (1, 1)


def test_logs__limit_for_one_block__another_may_take_it() -> None:
    one = query(first=5, last=5)
    assert rpc(Fixed(RpcLimit("too many")), Fixed(raw(log()))).logs(one) == [log()]
    with pytest.raises(RpcLimit):
        rpc(Fixed(RpcLimit("too many")), Fixed(RpcLimit("too many"))).logs(one)
