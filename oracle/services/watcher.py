"""Reads the chain into the store: requests made, requests ended, reorgs.

Of several nodes that share a store one reads. Invariant: what the store holds up to its cursor is
what one chain of blocks says. Requests, block hashes and cursor move in one transaction; a block
whose parent is not the known one undoes everything back to the common ancestor first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from structlog.typing import FilteringBoundLogger

from oracle.chain.contracts import Ended, OracleContract, Status, ToppedUp
from oracle.chain.evidence import Block
from oracle.chain.pacing import GROWTH
from oracle.chain.rpc import Rpc, fewer_blocks
from oracle.drift import Drift
from oracle.errors import ConfigError, RpcLimit, RpcUnreachable
from oracle.log import request_hex
from oracle.store.ledger import Store
from oracle.store.records import Cursor
from oracle.store.states import RequestState
from oracle.types import Request

#: What only one node does at a time.
DUTY = "watch"
#: Ranges of up to as many blocks are read with every header, so that logs can be told from lies.
_HEADERS = 16
#: Blocks are read a second time once as many more were read, but none that are further back: an
#: endpoint that held something back may be another one by then, or honest.
_SECOND_LOOK = 16
_SECOND_LOOK_DEPTH = 256

#: What the chain's ends of a request are in the ledger.
_END = {Status.FULFILLED: RequestState.LOST, Status.REFUNDED: RequestState.CANCELLED}


class Watcher:
    """Follows the oracle's logs.

    Args:
        store: where to put them.
        rpc: the chain.
        oracle: the contract.
        start_block: first block to read in a new store.
        confirmations: blocks that must lie on top of a block before it is read.
        chunk: most blocks in one log query.
        log: for a person.
        drift: told of each head.
    """

    def __init__(
        self,
        store: Store,
        rpc: Rpc,
        oracle: OracleContract,
        *,
        start_block: int,
        confirmations: int,
        chunk: int,
        log: FilteringBoundLogger,
        drift: Drift,
    ) -> None:
        self._store = store
        self._rpc = rpc
        self._oracle = oracle
        self._start_block = start_block
        self._confirmations = confirmations
        self._chunk = chunk
        self._log = log
        self._drift = drift
        self._warned = False
        self._head_hash = b""
        #: Height of the last head that was seen; -1 before the first.
        self.head = -1
        # Headers of blocks that were read, by height: for the second look at them.
        self._read_headers: dict[int, Block] = {}
        # Height of the last head at which a step was to be repeated at once.
        self._repeated_at = -1
        # Up to which block everything was read twice.
        self._read_twice = start_block - 1
        # Up to which block the second look that is due goes.
        self._to_read_twice = start_block - 1

    def step(self) -> bool:
        """Read the next range of blocks; False when there is nothing new, or another node reads."""
        if not self._store.has_duty(DUTY):
            self._head_hash = b""
            return False
        cursor, head = self._store.cursor(), self._rpc.head()
        self._look_at_clock(head)
        if cursor is None:
            cursor = self._start(head.number)
        self.head = head.number
        if head.hash != self._head_hash:
            self._store.set_head(head.number, head.timestamp, head.base_fee)
        elif cursor.block >= head.number - self._confirmations:
            return self._look_again(cursor)
        first = cursor.block + 1
        # Known limits are kept before the headers are read, which cost calls of their own.
        most = min(cursor.chunk, self._rpc.most_blocks)
        last = min(head.number - self._confirmations, cursor.block + most)
        worked = (
            self._still_known(cursor, head.number)
            if first > last
            else self._read(cursor, first, last, head.number)
        )
        # Remembered last, so that a step that failed half-way looks at this head again.
        self._head_hash = head.hash
        return worked or self._look_again(self._store.cursor() or cursor)

    def _look_at_clock(self, head: Block) -> None:
        self._drift.saw(head.number, head.timestamp)
        warning = self._drift.warning()
        if (warning is not None) != self._warned:
            self._warned = warning is not None
            self._log.warning(
                "clock drift" if warning else "the clock agrees with the chain's again",
                detail=warning,
            )

    def _start(self, head: int) -> Cursor:
        if self._start_block > head:
            # A cursor beyond the chain would look as if everything had been read.
            raise ConfigError(
                f"start_block {self._start_block} is beyond the newest block, {head}",
                remedy="Set start_block to the block that the oracle was deployed in",
            )
        with self._store.transaction(DUTY):
            self._store.start_cursor(self._start_block - 1, self._chunk)
        return Cursor(self._start_block - 1, self._chunk, 0, 0, 0)

    def _still_known(self, cursor: Cursor, head: int) -> bool:
        """With no new block to read: whether those that were read are still the chain's."""
        # An endpoint whose head is behind the cursor may only be late: what it has must agree.
        newest = next(iter(self._store.known_blocks(min(cursor.block, head))), None)
        if newest is None or self._has_block(*newest):
            return False
        self._rewind(cursor)
        return self._again(head)

    def _again(self, head: int) -> bool:
        """Whether to repeat the step at once: once at each height.

        Endpoints that contradict each other would else be asked without end.
        """
        repeats, self._repeated_at = head > self._repeated_at, max(head, self._repeated_at)
        return repeats

    def _headers(self, first: int, last: int) -> list[Block] | None:
        """The headers of a short range, the first and the last of a long one.

        None when the endpoint lacks one, or when they are not of one chain.
        """
        numbers = range(first, last + 1) if last - first < _HEADERS else (first, last)
        # The last block is asked for before and after the rest: if it is the same one, then so is
        # every block below it, and the endpoint that answered knew them all.
        final = self._rpc.block(last)
        others = [self._rpc.block(number) for number in numbers[:-1]]
        headers = [block for block in (*others, final) if block is not None]
        if [block.number for block in headers] != list(numbers):
            return None
        if any(
            block.parent_hash != parent.hash
            for parent, block in pairwise(headers)
            if block.number == parent.number + 1
        ):
            return None
        return headers

    def _read(self, cursor: Cursor, first: int, last: int, head: int) -> bool:
        """Whether there is more to do at once, here or for others: each step asks for the head anew."""
        headers = self._headers(first, last)
        if headers is None:
            return False
        final = headers[-1]
        known = self._store.block_hash(cursor.block)
        if known is not None and headers[0].parent_hash != known:
            self._rewind(cursor)
            return self._again(head)
        events = self._events(first, last, headers)
        if events is None:
            return True
        again = self._rpc.block(last)
        if again is None or again.hash != final.hash:
            return self._again(head)
        is_new = self._record(events, final)
        self._keep(headers)
        if last - first + 1 == cursor.chunk < self._chunk:
            grown = cursor.chunk + max(1, cursor.chunk // GROWTH)
            self._store.set_chunk(min(grown, self._chunk))
        return is_new or last < head - self._confirmations

    def _events(
        self, first: int, last: int, headers: Sequence[Block]
    ) -> list[Request | ToppedUp | Ended] | None:
        """The events of some blocks; None when they are to be asked for in smaller ranges."""
        blocks = last - first + 1
        try:
            return self._oracle.events(first, last, headers)
        except RpcLimit as error:
            if blocks == 1:
                raise
            self._store.set_chunk(fewer_blocks(error, blocks))
            return None
        except RpcUnreachable as error:
            # A query that is too large may end in a timeout, or in a gateway's 504: told as what
            # it is, and smaller at the next step.
            if blocks > 1:
                self._store.set_chunk(fewer_blocks(error, blocks))
            raise

    def _look_again(self, cursor: Cursor) -> bool:
        """Read blocks a second time if that is due, for what the first answer held back."""
        if cursor.block - self._read_twice >= _SECOND_LOOK:
            self._to_read_twice = cursor.block
        if self._read_twice >= min(self._to_read_twice, cursor.block):
            return False
        first = max(self._read_twice, cursor.block - _SECOND_LOOK_DEPTH) + 1
        known = self._store.block_hash(cursor.block)
        if known is None or not self._has_block(cursor.block, known):
            return False
        # Every header is looked at: what an endpoint remembers of a branch that a reorg dropped would
        # stay for ever, for no reorg drops it again.
        most = min(cursor.chunk, self._rpc.most_blocks, _HEADERS)
        last = min(cursor.block, first + most - 1)
        headers = self._kept(first, last, cursor.block, known) or self._headers(first, last)
        if headers is None or not self._are_known(headers):
            return False
        events = self._events(first, last, headers)
        if events is None:
            return True
        if self._take(events):
            self._log.warning(
                "an endpoint had held events back", first_block=first, last_block=last
            )
        self._read_twice = last
        return True

    def _keep(self, headers: Sequence[Block]) -> None:
        self._read_headers |= {block.number: block for block in headers}
        oldest = headers[-1].number - _SECOND_LOOK_DEPTH - _SECOND_LOOK
        for number in [number for number in self._read_headers if number < oldest]:
            del self._read_headers[number]

    def _kept(self, first: int, last: int, cursor: int, known: bytes) -> list[Block] | None:
        """The headers of a range as they were read, if each is an ancestor of the cursor's block."""
        expected, chain = known, []
        for number in range(cursor, first - 1, -1):
            block = self._read_headers.get(number)
            if block is None or block.hash != expected:
                return None
            expected = block.parent_hash
            if number <= last:
                chain.append(block)
        return chain[::-1]

    def _are_known(self, headers: Sequence[Block]) -> bool:
        """Whether no header differs from what was read of its height before."""
        return all(self._store.block_hash(block.number) in (None, block.hash) for block in headers)

    def _record(self, events: list[Request | ToppedUp | Ended], last: Block) -> bool:
        hashes = {e.block_number: e.block_hash for e in events if isinstance(e, Request)}
        hashes[last.number] = last.hash
        return self._take(
            events, lambda: self._store.advance(last.number, hashes.items(), last.timestamp)
        )

    def _take(
        self,
        events: list[Request | ToppedUp | Ended],
        and_then: Callable[[], None] = lambda: None,
    ) -> bool:
        """Keep what is new; False when nothing was. The same events change nothing again."""
        seen: list[Request] = []
        ended: list[tuple[Ended, RequestState]] = []
        with self._store.transaction(DUTY):
            for event in events:
                if isinstance(event, Request):
                    if self._store.add_request(event):
                        seen.append(event)
                elif isinstance(event, ToppedUp):
                    self._top_up(event)
                else:
                    state = _END[event.status]
                    row = self._store.request(event.request_id)
                    if row is not None and self._store.end_unsent(
                        event.request_id,
                        state,
                        event.reason(row.payee),
                        event.block_number,
                        event.transaction_hash,
                    ):
                        ended.append((event, state))
            and_then()
        for request in seen:
            self._log.info(
                "request seen",
                request=request_hex(request.key.request_id),
                model=request.model_id,
                block=request.block_number,
            )
        for event, state in ended:
            self._log.info(
                "request ended elsewhere",
                request=request_hex(event.request_id),
                state=state.value,
                by=event.beneficiary,
            )
        return bool(seen or ended)

    def _top_up(self, event: ToppedUp) -> None:
        row = self._store.request(event.request_id)
        # It only grows: another top-up may have been read before this one.
        if row is not None and event.gas_money > row.request.gas_money:
            self._store.top_up(event.request_id, event.gas_money, event.block_number)

    def _rewind(self, cursor: Cursor) -> None:
        ancestor = next(
            (
                number
                for number, block_hash in self._store.known_blocks(cursor.block)
                if self._has_block(number, block_hash)
            ),
            self._start_block - 1,
        )
        with self._store.transaction(DUTY):
            orphaned = self._store.rewind(ancestor)
        self._read_twice = min(self._read_twice, ancestor)
        self._log.warning(
            "chain reorganised",
            from_block=cursor.block,
            to_block=ancestor,
            orphaned=len(orphaned),
        )

    def _has_block(self, number: int, block_hash: bytes) -> bool:
        block = self._rpc.block(number)
        return block is not None and block.hash == block_hash
