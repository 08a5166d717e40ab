"""Everything outside of the node's process: chain, time, whether proofs succeed.

It goes on when the node dies. A script tells what happens and when; each of its acts happens once,
however often the node is started.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_utils.crypto import keccak

from oracle import tensor
from oracle.chain.contracts import Status
from oracle.chain.signer import Fees, LocalSigner, Unsigned
from oracle.errors import RpcUnreachable
from oracle.testing import FakeChain
from tests.node.world import KEY, NOW, VERIFIER_CODE, batch, spec

#: The account of another node, or the one that this node gets.
OTHER_KEY = "0x" + "22" * 32
#: The registered model: one row, or up to four in one proof.
MODEL = spec(batches=(batch(4),))
#: Seconds that a request lives.
LIFETIME = 3600
#: Wei per gas at which no request pays.
DEAR = 10**12
CHEAP = 10**9


class Outside:
    """A transport with a chain behind it and a script that the node's process asks to go on.

    Attributes:
        requests: ids in the order in which they were made.
        prover: ``answer``, ``hold`` or the code of the error with which every proof ends.
        serves: whether the node is configured with the model's bundle.
        unreachable: methods that the endpoint does not answer.
        swallows: whether the endpoint takes transactions and hands none on.
        ahead: seconds by which the chain's clock is ahead of the node's.
        key: the account with which the node is configured.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.now = NOW
        self.ahead = 0
        self.chain = FakeChain(clock=lambda: self.now + self.ahead)
        self.model_id = self.chain.register(MODEL, verifier_code=VERIFIER_CODE, fee=10**14)
        self.requests: list[int] = []
        self.prover = "answer"
        self.serves = True
        self.unreachable: frozenset[str] = frozenset()
        self.swallows = False
        self.key = KEY
        self._script = list(scenario.script)
        self._restarts = False
        self._is_there = threading.Event()
        self._is_alone = threading.Event()
        self._lost_transactions: list[Any] = []

    def send(self, method: str, params: list[Any]) -> Any:
        """See `oracle.chain.rpc.Transport`."""
        if method in self.unreachable:
            raise RpcUnreachable("down")
        if method == "outside_state":
            return self._state()
        if method == "outside_wait":
            self._is_there.set()
            self._is_alone.wait()
            return self._state()
        if method == "outside_pass":
            self.now += params[0]
            return self._state()
        if method == "outside_next":
            self._script.pop(0).happen(self)
            state = self._state() | {"restart": self._restarts}
            self._restarts = False
            return state
        if method == "eth_sendRawTransaction" and self.swallows:
            return "0x" + keccak(hexstr=params[0]).hex()
        return self.chain.send(method, params)

    def _state(self) -> Mapping[str, Any]:
        upcoming = self._script[0] if self._script else None
        when = upcoming.when if upcoming else None
        return {
            "now": self.now,
            "prover": self.prover,
            "serves": self.serves,
            "more": upcoming is not None,
            "when": when and [hex(self.requests[when[0]]), when[1]],
        }

    # --- a second node, which waits until the first is gone ---

    def wait_for_second(self) -> None:
        """Until it has its place in the store."""
        self._is_there.wait()

    def let_second_go_on(self) -> None:
        self._is_alone.set()

    # --- what may happen ---

    def ask(self, rows: int = 1, model_id: int | None = None) -> None:
        first = 10 * len(self.requests) + 1
        self.requests.append(
            self.chain.request(
                model_id or self.model_id,
                tensor.pack(tuple(range(first, first + 2 * rows)), 4),
                lifetime=LIFETIME,
            )
        )

    def ask_together(self, amount: int) -> None:
        """Requests that one block holds."""
        automine, self.chain.automine = self.chain.automine, False
        for _ in range(amount):
            self.ask()
        self.chain.mine()
        self.chain.automine = automine

    def end(self, index: int, status: Status) -> None:
        """Somebody else ends a request, in a block of its own."""
        self.chain.end(self.requests[index], status)
        if not self.chain.automine:
            self.chain.mine()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.chain.mine()

    def drop(self, index: int) -> None:
        """Reorganise away the block of a request and all on top of it."""
        self.chain.reorg(self.chain.height - self._block_of(index) + 1, keep=False)

    def drop_last(self, blocks: int = 1) -> None:
        self.chain.reorg(blocks, keep=False)

    def mine_again(self) -> None:
        """What a reorg dropped is mined once more."""
        lost = [i for i in self.requests if self.chain.status(i) is Status.UNKNOWN]
        self.chain.reopen(lost)

    def lose_transactions(self) -> None:
        """The endpoint that the node knows has its transactions no more, and loses new ones."""
        self.swallows = True
        self._lost_transactions, self.chain.mempool[:] = list(self.chain.mempool), []

    def find_transactions(self) -> None:
        """Another endpoint had them all the time, and now they are mined."""
        self.swallows = False
        known = {sent.hash for sent in self.chain.mempool}
        self.chain.mempool += [t for t in self._lost_transactions if t.hash not in known]
        self.chain.mine()

    def send_for_the_account(self, nonce: int) -> None:
        """Another program sends with the node's key."""
        self.chain.mempool.clear()
        own = self.signer.address
        signed = self.signer.sign(
            Unsigned(self.chain.chain_id, nonce, own, b"", 21_000, Fees(10**10, 1))
        )
        self.chain.send("eth_sendRawTransaction", ["0x" + signed.raw.hex()])
        self.chain.mine()

    def restart(self) -> None:
        """The operator restarts the node."""
        self._restarts = True

    def change_account(self) -> None:
        """The operator gives the node another key."""
        self.key = OTHER_KEY
        self._restarts = True

    @property
    def signer(self) -> LocalSigner:
        """The node's account."""
        return LocalSigner(Account.from_key(self.key))

    def _block_of(self, index: int) -> int:
        wanted = self.requests[index].to_bytes(32, "big").hex()
        return next(
            block.number
            for block in self.chain._blocks
            if any(wanted in topic for log in block.logs for topic in log["topics"])
        )


@dataclass(frozen=True)
class Act:
    """Something that happens outside, once the node is idle or when a request is in a state."""

    happen: Callable[[Outside], None]
    #: Index of the request and the state.
    when: tuple[int, str] | None = None


@dataclass(frozen=True)
class Scenario:
    """A life of the node."""

    name: str
    script: tuple[Act, ...]
    #: Of the node's configuration.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Kill at every point, not only at those where a state changes for the first time.
    whole: bool = False
