"""What can be told about a list of logs without believing the endpoint that gave it. Pure.

A log names its block; a block's bloom filter names, without false negatives, every address and
topic in it. So a log that its block does not vouch for is false, and a block that vouches for more
than the list has may have been cut short: another endpoint is asked then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak

_BLOOM_BITS = 2048


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header, as far as the node needs it."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    #: Wei per gas.
    base_fee: int
    gas_limit: int
    #: Bloom filter over its logs' addresses and topics; 0 on chains that keep none.
    logs_bloom: int = 0

    def may_hold(self, *items: bytes) -> bool:
        """Whether every item may be among its logs' addresses and topics; no false negatives."""
        return not self.logs_bloom or all(
            self.logs_bloom >> bit & 1 for item in items for bit in bloom_bits(item)
        )


@dataclass(frozen=True, slots=True)
class Log:
    """An event as a contract emitted it."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int

    @property
    def place(self) -> tuple[int, int]:
        """Where it lies in the chain: block number and log index."""
        return self.block_number, self.log_index


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Events of a contract whose first topic is one of ``topics``, in a range of blocks."""

    address: str
    topics: tuple[bytes, ...]
    #: First and last block, inclusive.
    first: int
    last: int
    #: Headers of these blocks, as far as they are known.
    headers: tuple[Block, ...] = ()
    #: What the further topics must be; None matches anything. Not every endpoint heeds it: who asks
    #: for it looks at the answer, too.
    indexed: tuple[bytes | None, ...] = ()

    @property
    def blocks(self) -> int:
        """How many blocks it covers."""
        return self.last - self.first + 1

    @property
    def parameters(self) -> dict[str, object]:
        """As ``eth_getLogs`` takes it."""
        return {
            "address": self.address,
            "topics": [
                ["0x" + topic.hex() for topic in self.topics],
                *(None if topic is None else "0x" + topic.hex() for topic in self.indexed),
            ],
            "fromBlock": hex(self.first),
            "toBlock": hex(self.last),
        }

    def check(self, logs: Sequence[Log]) -> None:
        """Refuse a list that cannot be the answer.

        Raises:
            ValueError: a log was not asked for, is there twice, or is not its block's.
        """
        headers = {block.number: block for block in self.headers}
        hashes = {block.number: block.hash for block in self.headers}
        if len({log.place for log in logs}) < len(logs):
            raise ValueError("a log is there twice")
        for log in logs:
            if not self.first <= log.block_number <= self.last:
                raise ValueError("a log of another block")
            if log.address.lower() != self.address.lower():
                raise ValueError("a log of another contract")
            if not log.topics or log.topics[0] not in self.topics:
                raise ValueError("a log of another event")
            if hashes.setdefault(log.block_number, log.block_hash) != log.block_hash:
                raise ValueError("a log of a block that is not the chain's")
            header = headers.get(log.block_number)
            if header is not None and not header.may_hold(self._address_bytes, *log.topics):
                raise ValueError("a log that its block does not have")

    def silent(self, logs: Sequence[Log]) -> bool:
        """Whether a block may hold an event of which the list has none."""
        found = {(log.block_number, log.topics[0]) for log in logs}
        further = [topic for topic in self.indexed if topic is not None]
        return any(
            block.logs_bloom
            and block.may_hold(self._address_bytes, topic, *further)
            and (block.number, topic) not in found
            for block in self.headers
            for topic in self.topics
        )

    @property
    def _address_bytes(self) -> bytes:
        return bytes.fromhex(self.address.removeprefix("0x"))


def union(lists: Iterable[Sequence[Log]]) -> list[Log]:
    """All logs of several answers to one query, in chain order.

    Raises:
        ValueError: they are of different chains.
    """
    found: dict[tuple[int, int], Log] = {}
    hashes: dict[int, bytes] = {}
    for logs in lists:
        for log in logs:
            if (
                found.setdefault(log.place, log) != log
                or hashes.setdefault(log.block_number, log.block_hash) != log.block_hash
            ):
                raise ValueError("the endpoints disagree on a block")
    return [found[place] for place in sorted(found)]


def bloom_bits(item: bytes) -> tuple[int, int, int]:
    """The bits of a block's bloom filter that an address or a topic sets (yellow paper, 4.3.1)."""
    digest = keccak(item)
    first, second, third = (
        int.from_bytes(digest[i : i + 2], "big") % _BLOOM_BITS for i in (0, 2, 4)
    )
    return first, second, third
