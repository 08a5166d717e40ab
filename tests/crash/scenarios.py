"""The lives in which the node is killed.

Most are made from the table of states: for each state that a request can be in, and each way in
which it may leave it at any time, one life that leads there. The others are written by hand for the
steps that take more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oracle.chain.contracts import Status
from oracle.store.states import REQUEST_STEPS, UNSENT, RequestState

from .outside import CHEAP, DEAR, LIFETIME, Act, Outside, Scenario

_S = RequestState


def _set(**values: Any) -> Callable[[Outside], None]:
    """Attributes of the world outside or, after ``chain_``, of its chain."""

    def happen(outside: Outside) -> None:
        for name, value in values.items():
            if name.startswith("chain_"):
                setattr(outside.chain, name.removeprefix("chain_"), value)
            else:
                setattr(outside, name, value)

    return happen


def _ask(outside: Outside) -> None:
    outside.ask()


def _ask_thrice(outside: Outside) -> None:
    for _ in range(3):
        outside.ask()


def _mine(outside: Outside) -> None:
    outside.chain.mine()


def _poor(outside: Outside) -> None:
    outside.chain.balances[outside.signer.address] = 0


def _dear(outside: Outside) -> None:
    outside.chain.base_fee = DEAR
    outside.chain.mine()


def _restart(outside: Outside) -> None:
    outside.restart()


def _relieve(outside: Outside) -> None:
    """Whatever held requests up is over."""
    _set(prover="answer", serves=True, unreachable=frozenset())(outside)
    _set(chain_base_fee=CHEAP, chain_automine=True)(outside)
    outside.chain.revert_with = outside.chain.revert_batches_with = None
    outside.chain.balances.clear()
    outside.pass_time(100)


def _pass(seconds: float) -> Act:
    return Act(lambda outside: outside.pass_time(seconds))


#: Time in which everything that was put off is tried again.
_LATER = (_pass(100), _pass(100), _pass(100))
_ENDING = (Act(_relieve), *_LATER)


@dataclass(frozen=True)
class _Way:
    """How the last request gets into a state and stays there."""

    acts: tuple[Act, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Which request it is.
    index: int = 0


_HELD = Act(_set(prover="hold"))
_WAYS: Mapping[RequestState, _Way] = {
    # No decision without a look at the balance.
    _S.SEEN: _Way((Act(_set(unreachable=frozenset({"eth_getBalance"}))), Act(_ask))),
    _S.SKIPPED: _Way((Act(_set(chain_base_fee=DEAR)), Act(_ask))),
    # Behind another, so that it may be joined with more.
    _S.ACCEPTED: _Way((_HELD, Act(_ask), Act(_ask)), {"batch_max_requests": 4}, index=1),
    _S.QUEUED: _Way((_HELD, Act(_ask), Act(_ask)), index=1),
    _S.RUNNING: _Way((_HELD, Act(_ask))),
    _S.PROVED: _Way((_HELD, Act(_ask), Act(_dear), Act(_set(prover="answer")))),
    _S.PENDING: _Way((Act(_set(chain_automine=False)), Act(_ask), Act(_mine))),
    _S.MINED: _Way((Act(_ask), Act(_mine)), {"confirmations": 1}),
    _S.FINAL: _Way((Act(_ask),)),
    _S.FAILED: _Way((Act(_set(prover="PROVER_INPUT")), Act(_ask))),
    _S.EXPIRED: _Way((_HELD, Act(_ask), _pass(LIFETIME + 100))),
    _S.LOST: _Way((_HELD, Act(_ask), Act(lambda o: o.end(0, Status.FULFILLED)))),
    _S.CANCELLED: _Way((_HELD, Act(_ask), Act(lambda o: o.end(0, Status.REFUNDED)))),
}


def _exit(target: RequestState, way: _Way) -> tuple[Act, ...]:
    """What makes a request leave its state, and what can follow from that."""
    index = way.index
    if target is _S.EXPIRED:
        return (_pass(LIFETIME + 100),)
    if target is _S.LOST:
        return (Act(lambda o: o.end(index, Status.FULFILLED)),)
    if target is _S.CANCELLED:
        return (Act(lambda o: o.end(index, Status.REFUNDED)),)
    if target is _S.SEEN:
        return (Act(lambda o: o.change_account()),)
    return (Act(lambda o: o.drop(index)), Act(lambda o: o.mine_again()))


def _exits() -> list[Scenario]:
    """Every way out of every state, from the table of the states."""
    return [
        Scenario(
            f"{source}_then_{target}",
            (*way.acts, *_exit(target, way), *_ENDING),
            way.options,
        )
        for source, way in _WAYS.items()
        for target in sorted(REQUEST_STEPS[source])
        if target in (_S.EXPIRED, _S.LOST, _S.CANCELLED, _S.ORPHANED)
        or (target is _S.SEEN and source in UNSENT)
    ]


def _asks_together(outside: Outside) -> None:
    outside.ask_together(3)


def _top_up_and_hold(outside: Outside) -> None:
    outside.prover = "hold"
    outside.chain.top_up(outside.requests[3], 10**15)


def _again_and_another(outside: Outside) -> None:
    """One look at the chain finds both."""
    outside.mine_again()
    outside.ask()


def _again_and_fulfilled_by_another(outside: Outside) -> None:
    """One look at the chain finds both."""
    outside.mine_again()
    outside.end(0, Status.FULFILLED)


def _drop_the_other_sender(outside: Outside) -> None:
    """Its transaction with its block and the one on top, and from the mempool."""
    outside.drop_last(2)
    outside.chain.mempool.clear()


def _too_late(outside: Outside) -> None:
    """By the chain's time alone: nothing else of the node's becomes late."""
    outside.ahead = LIFETIME + 100
    outside.chain.mine()


def _not_late_after_all(outside: Outside) -> None:
    """The block that was later than the deadline is replaced by an earlier one."""
    outside.ahead = 0
    outside.drop_last()


_BATCHED = {"batch_max_requests": 4}
#: One request that the prover works on, and three that are proved together after it.
_BATCH = (_HELD, Act(_ask), Act(_asks_together))

#: A request was answered and, with its block, taken back; its answer is on its way all the same.
_ANSWERED_BEFORE = (
    Act(_set(chain_automine=False)),
    Act(_ask),
    Act(_mine),
    Act(lambda o: o.lose_transactions()),
    Act(_set(chain_automine=True)),
    Act(lambda o: o.drop(0)),
)
_FOUND = Act(lambda o: o.find_transactions())
#: It is made again, and waits with a new one for the prover, who works on a third.
_WAITS_AGAIN = (_HELD, Act(_ask), Act(_again_and_another))

_BY_HAND = [
    Scenario("one_answered", (Act(_ask), _pass(1), _pass(1)), {"confirmations": 1}, whole=True),
    Scenario("several_answered", (Act(_ask_thrice), *_ENDING)),
    Scenario("batch_answered", (*_BATCH, *_ENDING), _BATCHED, whole=True),
    Scenario(
        "stuck_and_replaced",
        (
            *_WAYS[_S.PENDING].acts,
            Act(lambda o: o.chain.mempool.clear()),
            _pass(61),
            *_ENDING,
        ),
        whole=True,
    ),
    Scenario(
        "stuck_and_ended_elsewhere",
        (
            *_WAYS[_S.PENDING].acts,
            Act(lambda o: o.chain.mempool.clear()),
            Act(lambda o: o.end(0, Status.FULFILLED)),
            Act(lambda o: o.pass_time(61)),
            *_ENDING,
        ),
    ),
    Scenario("account_empty_until_it_is_funded", (Act(_poor), Act(_ask), *_ENDING)),
    Scenario("proof_crashes_once", (Act(_set(prover="PROVER_CRASHED")), Act(_ask), *_ENDING)),
    Scenario(
        "proof_crashes_always_until_a_restart",
        (
            Act(_set(prover="PROVER_CRASHED")),
            Act(_ask),
            *_LATER,
            Act(_set(prover="answer")),
            Act(_restart),
            *_LATER,
        ),
    ),
    Scenario(
        "bundle_taken_away_while_accepted",
        (Act(_ask), Act(_set(serves=False)), Act(_restart), _pass(60)),
        {"batch_wait_seconds": 50, "batch_max_requests": 4},
    ),
    Scenario(
        "bundle_taken_away_while_queued",
        # In a shared store it waits for a node that has the bundle.
        (*_WAYS[_S.QUEUED].acts, Act(_set(serves=False)), Act(_restart), _pass(LIFETIME + 100)),
    ),
    Scenario(
        "too_late_while_accepted_and_the_endpoint_is_in_trouble",
        (
            *_WAYS[_S.ACCEPTED].acts,
            Act(_set(unreachable=frozenset({"eth_getBalance"}))),
            Act(_ask),
            _pass(LIFETIME + 100),
            *_ENDING,
        ),
        _WAYS[_S.ACCEPTED].options,
    ),
    Scenario(
        "simulation_reverts",
        (Act(_set(chain_revert_with=("ProofRejected", ()))), Act(_ask), *_ENDING),
    ),
    Scenario(
        "reverts_when_mined",
        (
            *_WAYS[_S.PENDING].acts,
            Act(_set(chain_revert_with=("ProofRejected", ()))),
            Act(_mine),
            *_ENDING,
        ),
    ),
    Scenario(
        "nonce_taken_by_another_sender",
        (*_WAYS[_S.PENDING].acts, Act(lambda o: o.send_for_the_account(0)), *_ENDING),
    ),
    Scenario(
        "nonce_taken_by_another_sender_until_a_reorg",
        (
            *_WAYS[_S.PENDING].acts,
            Act(lambda o: o.lose_transactions()),
            Act(lambda o: o.send_for_the_account(0)),
            _pass(61),
            Act(_drop_the_other_sender),
            _FOUND,
            *_ENDING,
        ),
    ),
    Scenario(
        "end_elsewhere_reorganised",
        (*_WAYS[_S.LOST].acts, Act(lambda o: o.drop_last()), *_ENDING),
    ),
    Scenario(
        "refund_reorganised",
        (*_WAYS[_S.CANCELLED].acts, Act(lambda o: o.drop_last()), *_ENDING),
    ),
    Scenario(
        "answer_reorganised_while_mined",
        (*_WAYS[_S.MINED].acts, Act(lambda o: o.drop_last()), *_ENDING),
        {"confirmations": 1},
    ),
    Scenario("answer_reorganised_while_final", (Act(_ask), Act(lambda o: o.drop_last()), *_ENDING)),
    Scenario(
        "reorganised_with_its_answer",
        (Act(_ask), Act(lambda o: o.chain.reorg(2, keep=True)), *_ENDING),
    ),
    Scenario(
        "answer_of_before_a_reorg_mined_while_skipped",
        (
            *_ANSWERED_BEFORE,
            Act(_set(chain_base_fee=DEAR)),
            Act(lambda o: o.mine_again()),
            Act(_set(chain_base_fee=CHEAP)),
            _FOUND,
            *_ENDING,
        ),
    ),
    Scenario(
        "answer_of_before_a_reorg_mined_while_accepted",
        (*_ANSWERED_BEFORE, *_WAITS_AGAIN, _FOUND, *_ENDING),
        _BATCHED,
    ),
    Scenario(
        "answer_of_before_a_reorg_mined_while_running",
        (
            *_ANSWERED_BEFORE,
            *_WAITS_AGAIN,
            Act(_set(prover="answer")),
            Act(_set(prover="hold"), when=(0, "running")),
            _FOUND,
            *_ENDING,
        ),
        _BATCHED,
    ),
    Scenario(
        "answer_of_before_a_reorg_mined_while_queued",
        (
            *_ANSWERED_BEFORE,
            *_WAITS_AGAIN,
            # Younger than those: they do not wait for it to be joined with more.
            _pass(1),
            Act(lambda o: o.ask(rows=2)),
            Act(_set(prover="answer")),
            Act(_set(prover="hold"), when=(3, "running")),
            _FOUND,
            *_ENDING,
        ),
        _BATCHED,
    ),
    Scenario(
        "answer_of_before_a_reorg_mined_while_failed",
        (
            *_ANSWERED_BEFORE,
            *_WAITS_AGAIN,
            Act(_set(serves=False)),
            Act(_restart),
            _FOUND,
            Act(_relieve),
            Act(_restart),
            *_LATER,
        ),
        _BATCHED,
    ),
    Scenario(
        "too_late_in_a_block_that_is_reorganised",
        (*_WAYS[_S.RUNNING].acts, Act(_too_late), Act(_not_late_after_all), *_ENDING),
    ),
    Scenario(
        "reorganised_and_lost_to_another",
        (Act(_ask), Act(lambda o: o.drop(0)), Act(_again_and_fulfilled_by_another), *_ENDING),
    ),
    Scenario(
        "proof_of_batch_fails",
        (*_BATCH, Act(_set(prover="PROVER_INPUT")), *_ENDING),
        _BATCHED,
    ),
    Scenario(
        "simulation_of_batch_reverts",
        (
            *_BATCH,
            Act(_set(chain_revert_batches_with=("ProofRejected", ()))),
            Act(_set(prover="answer")),
            *_ENDING,
        ),
        _BATCHED,
    ),
    Scenario(
        "batch_reverts_when_mined",
        (
            *_BATCH,
            Act(_set(prover="answer", chain_automine=False)),
            Act(_set(chain_revert_batches_with=("ProofRejected", ()))),
            Act(_mine),
            *_ENDING,
        ),
        _BATCHED,
    ),
    Scenario(
        "one_of_batch_ends_elsewhere_once_sent",
        (
            *_BATCH,
            Act(_set(prover="answer", chain_automine=False)),
            Act(lambda o: o.end(2, Status.FULFILLED)),
            *_ENDING,
        ),
        _BATCHED,
    ),
    Scenario(
        "one_of_batch_topped_up_and_queued_alone",
        (
            *_BATCH,
            Act(_set(prover="answer")),
            Act(lambda o: o.ask(rows=2), when=(3, "running")),
            Act(_top_up_and_hold, when=(3, "proved")),
            *_ENDING,
        ),
        _BATCHED,
    ),
]

SCENARIOS = {scenario.name: scenario for scenario in (*_BY_HAND, *_exits())}
