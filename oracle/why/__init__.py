"""Why a request is not done: its life from chain and node together, and what to do now.

    logs (what happened) + lens (what the contract would say) + a node's ledger (what it is doing)
        -> one cause

The chain comes first: what the contract refuses, no node can help. Then the node that was asked
about, if one was. What is left is that nobody serves the request. Nothing is written or sent.
"""

from __future__ import annotations

from oracle.chain.contracts import OracleContract, RegistryContract, Status
from oracle.chain.evidence import Block
from oracle.chain.lens import Reason, diagnose
from oracle.chain.rpc import Rpc
from oracle.chain.trail import closing_of, trail_of
from oracle.errors import ContractMismatch
from oracle.log import request_hex
from oracle.store.records import RequestRow
from oracle.types import Request
from oracle.why.at_node import at_node
from oracle.why.ended import fulfilled, refunded, unknown
from oracle.why.life import chain_step, chain_steps, in_order, node_steps
from oracle.why.report import (
    Cause,
    NodeView,
    Report,
    Situation,
    Starting,
    Step,
    Verdict,
    ether,
    gwei,
    values,
)
from oracle.why.waiting import below_what_nodes_take, notes, refused_by_contract, unserved

__all__ = ["Cause", "NodeView", "Report", "Starting", "Step", "ether", "explain", "gwei", "values"]


#: Whose configuration is not known.
_ANY = Starting()


def explain(
    rpc: Rpc,
    oracle: OracleContract,
    request_id: int,
    *,
    first_block: int = 0,
    node: NodeView | None = None,
    starting: Starting = _ANY,
) -> Report:
    """Everything that is known of a request.

    Args:
        rpc: the chain.
        oracle: the contract that was asked.
        request_id: the request.
        first_block: where its logs can begin: the contract's first block, or later.
        node: a node that may have to do with it.
        starting: how to start one, where none is known to work on it.

    Raises:
        ContractMismatch: the chain holds the request, but its logs are not where they should be.
    """
    head = rpc.head()
    status = oracle.status(request_id)
    trail = trail_of(rpc, oracle, request_id, first_block, head.number)
    row = node.store.request(request_id) if node else None
    happened = chain_steps(rpc, trail)
    done = node_steps(node, request_id) if node else []
    said: tuple[str, ...] = ()
    seconds_left = None
    if status is Status.UNKNOWN:
        verdict = unknown(row)
    elif trail.request is None:
        raise ContractMismatch(
            f"request {request_hex(request_id)} is {status.name.lower()}, but no log since block "
            f"{first_block} tells of it",
            remedy="Give an earlier --first-block, or an endpoint that keeps old logs",
        )
    elif status is Status.OPEN:
        registry = RegistryContract(rpc, oracle.registry())
        situation = _look(rpc, oracle, registry, trail.request, head)
        if situation.found.model_closed:
            happened += _closing(rpc, registry, situation)
        verdict = _open(situation, registry, node, row, starting)
        said = notes(situation, verdict)
        seconds_left = situation.found.seconds_left
    elif status is Status.REFUNDED:
        verdict = refunded(trail.request)
    else:
        verdict = fulfilled(rpc, oracle, trail.request, trail)
    return Report(
        request_id=request_id,
        status=status,
        cause=verdict.cause,
        explanation=verdict.explanation,
        remedy=verdict.remedy,
        commands=verdict.commands,
        steps=in_order(happened, done),
        notes=said,
        request=trail.request,
        seconds_left=seconds_left,
    )


def _look(
    rpc: Rpc, oracle: OracleContract, registry: RegistryContract, request: Request, head: Block
) -> Situation:
    model = registry.model(request.model_id)
    found = diagnose(rpc, oracle.address, request)
    if model is None or found.reason is Reason.PREIMAGE_MISMATCH:
        raise ContractMismatch(
            f"request {request_hex(request.key.request_id)} is not what its logs say",
            remedy="Ask again: a block may just have changed it. If it stays, the endpoint's logs "
            "are incomplete",
        )
    return Situation(rpc, request, model, head, found)


def _closing(rpc: Rpc, registry: RegistryContract, s: Situation) -> list[Step]:
    """When the model was closed: it was open when the request was made."""
    blocks = (s.request.block_number, s.head.number)
    closed = closing_of(rpc, registry.address, s.model.model_id, *blocks)
    return [] if closed is None else [chain_step(rpc, closed)]


def _open(
    s: Situation,
    registry: RegistryContract,
    node: NodeView | None,
    row: RequestRow | None,
    starting: Starting,
) -> Verdict:
    refused = refused_by_contract(s)
    if refused is not None:
        return refused
    if node is not None:
        return at_node(s, node, row)
    return below_what_nodes_take(s) or unserved(s, registry, starting)
