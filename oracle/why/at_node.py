"""Open requests: what a node makes of them.

The functions without an underscore ask no chain: `oracle.why.by_ledger` has them too.
"""

from __future__ import annotations

from oracle.errors import (
    ProofInvalid,
    ProverCrashed,
    ProverInput,
    ProverMemory,
    ProverTimeout,
    ProverUnavailable,
    TransactionReverted,
)
from oracle.policy import Reason
from oracle.store import operator
from oracle.store.records import Intent, RequestRow
from oracle.store.states import RequestState
from oracle.why.report import Cause, Named, NodeView, Situation, Verdict, ether, gwei
from oracle.why.waiting import AFTER_DEADLINE, below_what_nodes_take


def at_node(s: Situation, node: NodeView, row: RequestRow | None) -> Verdict:
    """What the node does about an open request, which it knows as ``row``."""
    if not node.is_running:
        where = f"It had the request {row.state}" if row else "It has not seen the request"
        return Verdict(
            Cause.NODE_STOPPED,
            f"The node is not running. {where}",
            "Start it",
            (f"oracle node run --config {node.config}",),
        )
    return _not_seen(s, node) if row is None else _BY_STATE.get(row.state, _reopened)(s, node, row)


def _not_seen(s: Situation, node: NodeView) -> Verdict:
    cursor = node.store.cursor()
    read = cursor.block if cursor else -1
    block = s.request.block_number
    if read >= block:
        return Verdict(
            Cause.NODE_MISSED,
            f"The node has read up to block {read}, but not block {block}, which holds the request",
            f"Set its start_block to {block} or less, with a new store",
        )
    missing = block + node.confirmations - s.head.number
    if missing > 0:
        return Verdict(
            Cause.CONFIRMING,
            f"The node waits for {node.confirmations} blocks on top of the request's; "
            f"{missing} are missing",
            "Nothing to do but to wait",
        )
    return Verdict(
        Cause.NODE_BEHIND,
        f"The node has read the chain up to block {max(read, 0)} of {s.head.number}; the request "
        f"is in block {block}",
        "Wait; if it does not come nearer, look at the node's log for its RPC endpoint",
    )


def _undecided(s: Situation, node: NodeView, _: RequestRow) -> Verdict:
    return _poor(s, node) or Verdict(
        Cause.NODE_BEHIND,
        "The node has seen the request and has not decided on it yet: it first reads the chain "
        "to its head",
        "Nothing to do but to wait",
    )


def _poor(s: Situation, node: NodeView) -> Verdict | None:
    """The verdict when the node's account holds too little to take anything new."""
    balance = s.rpc.balance(node.account)
    if balance >= node.min_balance:
        return None
    return _unfunded(
        node,
        f"holds {ether(balance)}, below its min_balance of {ether(node.min_balance)}, and "
        "takes nothing new",
        node.min_balance - balance,
    )


def _unfunded(node: NodeView, what: str, wei: int) -> Verdict:
    return Verdict(
        Cause.NODE_UNFUNDED,
        f"The node's account {node.account} {what}",
        f"Send at least {ether(wei)} to {node.account}",
    )


def _skipped(s: Situation, node: NodeView, row: RequestRow) -> Verdict:
    code, detail = row.reason.split(": ", 1)
    match code:
        case Reason.FEE_LOW:
            return below_what_nodes_take(s, node.subsidy) or Verdict(
                Cause.NODE_BEHIND,
                "The node skipped the request when it paid too little; it pays enough now",
                "Nothing to do: the node looks at skipped requests again every minute",
            )
        case Reason.LOW_BALANCE:
            return _poor(s, node) or Verdict(
                Cause.NODE_BEHIND,
                "The node skipped the request when its account held too little; it holds enough now",
                "Nothing to do: the node looks at skipped requests again every minute",
            )
        case Reason.NO_BUNDLE:
            return Verdict(
                Cause.NODE_LACKS_MODEL,
                f"The node has no bundle of model {s.model.model_id}",
                "Add the bundle's folder to bundles in its configuration and start it again",
            )
        case Reason.DEADLINE_NEAR:
            return Verdict(
                Cause.DEADLINE_NEAR,
                f"The node cannot prove it in time ({detail})",
                f"Ask again with a longer lifetime. {AFTER_DEADLINE}",
                (f"oracle refund {s.name}",),
            )
        case _:
            return Verdict(
                Cause.NODE_REFUSES,
                f"The node skipped the request: {row.reason}",
                SKIP_REMEDIES.get(code, "Look at the node's log"),
            )


SKIP_REMEDIES: dict[str, str] = {
    Reason.UNKNOWN_MODEL: "Ask a registered model",
    Reason.MODEL_UNSUPPORTED: "Install a newer version of the node",
    Reason.VERIFIER_DIFFERS: "Audit the bundle against the chain (oracle model audit)",
    Reason.BUNDLE_DIFFERS: "Use the bundle that the model was registered with",
    Reason.INPUT_INVALID: "Ask again with an input that the model takes",
    Reason.LOW_DISK: "Make room on the node's disk; it looks at the request again by itself",
    Reason.LOW_MEMORY: "Give the node's machine more memory; it looks at the request again by itself",
    Reason.REQUESTER_LIMIT: "Wait until others of this account's requests have ended",
    Reason.REQUESTER_REFUSED: "Ask from another account, or find another node",
    Reason.INCOME_LOW: "Lower min_income in the node's configuration, or find another node",
}

#: What an operator does about a proof that failed, by the error's code.
PROOF_REMEDIES: dict[str, str] = {
    ProverInput.code: "The contract took an input that the circuit cannot prove: a defect of the "
    "bundle, which oracle model evaluate shows. Tell its publisher, and ask again with another",
    ProverMemory.code: "Give the node a machine with more memory and start it again",
    ProverTimeout.code: "Raise prove_timeout in the node's configuration and start it again",
    ProverUnavailable.code: "Look at memory, disk and processes of the node's machine",
    ProverCrashed.code: "Look at the node's log and its work_dir, then start it again",
    ProofInvalid.code: "Audit the bundle (oracle model audit)",
    "NO_BUNDLE": "Put the bundle back into the node's configuration and start it again",
}


def failed(s: Named, _: NodeView, row: RequestRow) -> Verdict:
    """The verdict on a proof that failed for good, or that the contract refused."""
    reason = row.reason
    code = reason.partition(":")[0]
    if code == TransactionReverted.code:
        return Verdict(
            Cause.DELIVERY_REFUSED,
            f"The contract refused the node's proof: {reason}",
            "Audit the bundle against the chain (oracle model audit)",
        )
    return Verdict(
        Cause.PROOF_FAILING,
        f"The node could not prove the request: {reason}",
        f"{PROOF_REMEDIES.get(code, 'Look at the log of the node')}. {AFTER_DEADLINE}",
        (f"oracle refund {s.name}",),
    )


def being_proved(_: Named, node: NodeView, row: RequestRow) -> Verdict:
    """The verdict on a request whose proof is not finished."""
    job = node.store.job(row.job_id or "")
    if job is not None and job.error:
        code = job.error.partition(":")[0]
        return Verdict(
            Cause.PROOF_FAILING,
            f"Attempt {job.attempts} of the proof failed and the node tries again: {job.error}",
            PROOF_REMEDIES.get(code, "Look at the node's log"),
        )
    what = {
        RequestState.ACCEPTED: "waits to be joined with others or queued",
        RequestState.QUEUED: f"waits its turn; {node.store.backlog()} proofs are to be made",
        RequestState.RUNNING: "is being made",
    }[row.state]
    return Verdict(Cause.PROVING, f"Its proof {what}", "Nothing to do but to wait")


def _proved(s: Situation, node: NodeView, _: RequestRow) -> Verdict:
    low = below_what_nodes_take(s, node.subsidy)
    if low is not None:
        return low
    return _cannot_pay(s, node, s.request.gas_units * s.head.base_fee) or Verdict(
        Cause.DELIVERING, "The proof is ready and about to be sent", "Nothing to do but to wait"
    )


def _pending(s: Situation, node: NodeView, row: RequestRow) -> Verdict:
    intent = node.store.live_intent(row.request_id)
    if intent is None:
        return Verdict(Cause.DELIVERING, "The answer's transaction is mined or replaced just now")
    last = intent.attempts[-1]
    if last.broadcast_at is None:
        short = _cannot_pay(s, node, intent.gas * last.max_fee)
        if short is not None:
            return short
    return Verdict(Cause.DELIVERING, *on_its_way(s.head.base_fee, intent))


def on_its_way(base_fee: int, intent: Intent) -> tuple[str, str]:
    """What a signed transaction waits for, at a base fee in wei, and what to do."""
    last = intent.attempts[-1]
    sent = f"The answer's transaction (nonce {intent.nonce}, {gwei(last.max_fee)} per gas at most) "
    if last.broadcast_at is None:
        return sent + "was not taken by the endpoint yet", "Look at the node's log and endpoint"
    if last.max_fee < base_fee:
        return (
            sent + f"is below the base fee of {gwei(base_fee)}",
            "Nothing to do: the node raises it as far as the request pays",
        )
    return sent + "waits to be mined", "Nothing to do but to wait"


def _cannot_pay(s: Situation, node: NodeView, wei: int) -> Verdict | None:
    balance = s.rpc.balance(node.account)
    if balance >= wei:
        return None
    return _unfunded(
        node, f"holds {ether(balance)}; sending the answer may take {ether(wei)}", wei - balance
    )


def _late(s: Situation, _: NodeView, __: RequestRow) -> Verdict:
    return Verdict(
        Cause.DEADLINE_NEAR,
        "The node saw a block later than the deadline, the chain has none: it was reorganised, or an "
        "endpoint is late",
        f"Nothing to do: the node takes it up again if there is time. {AFTER_DEADLINE}",
        (f"oracle refund {s.name}",),
    )


def _cancelled(s: Situation, node: NodeView, row: RequestRow) -> Verdict:
    if not row.reason.startswith(f"{operator.REASON}:"):
        return _reopened(s, node, row)
    return cancelled(s, node)


def cancelled(s: Named, node: NodeView) -> Verdict:
    """The verdict on a request that the operator cancelled."""
    return Verdict(
        Cause.NODE_REFUSES,
        "The node's operator cancelled the request",
        f"Have the node take it up again. {AFTER_DEADLINE}",
        (f"oracle node requeue {s.name} --config {node.config}", f"oracle refund {s.name}"),
    )


def _reopened(_: Situation, __: NodeView, row: RequestRow) -> Verdict:
    """Mined, final, lost, refunded or orphaned: the chain says open."""
    return Verdict(
        Cause.REORGANISED,
        f"The node has the request {row.state}, but the chain was reorganised since: it is open "
        "again",
        "Nothing to do: the node reads the new blocks and goes on",
    )


_BY_STATE = {
    RequestState.SEEN: _undecided,
    RequestState.SKIPPED: _skipped,
    RequestState.FAILED: failed,
    RequestState.CANCELLED: _cancelled,
    RequestState.ACCEPTED: being_proved,
    RequestState.QUEUED: being_proved,
    RequestState.RUNNING: being_proved,
    RequestState.PROVED: _proved,
    RequestState.PENDING: _pending,
    RequestState.EXPIRED: _late,
}
