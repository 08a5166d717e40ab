"""Open requests: what the contract, the model's publisher or the money has against them."""

from __future__ import annotations

from oracle import fees
from oracle.chain.contracts import RegistryContract
from oracle.chain.lens import Reason
from oracle.why.report import Cause, Situation, Starting, Verdict, gwei

#: What always helps in the end.
AFTER_DEADLINE = "After the deadline the money can be had back"


def refused_by_contract(s: Situation) -> Verdict | None:
    """What makes the contract refuse every answer now."""
    if s.found.reason is Reason.EXPIRED:
        return Verdict(
            Cause.DEADLINE_PASSED,
            "No node answered before the deadline; nobody can any more",
            "Have the money given back",
            (f"oracle refund {s.name}",),
        )
    if s.found.verifier_lost:
        return Verdict(
            Cause.VERIFIER_LOST,
            f"The verifier of model {s.model.model_id} at {s.model.verifier} is not the contract "
            "that was registered: no proof can be accepted",
            f"Ask another model. {AFTER_DEADLINE}",
            (f"oracle refund {s.name}",),
        )
    if s.found.reason is Reason.UNDERFUNDED:
        return _underfunded(s, s.found.top_up_required)
    return None


def below_what_nodes_take(s: Situation, subsidy: int = 0) -> Verdict | None:
    """The contract would pay at the present base fee; nodes want room for it to rise.

    Args:
        s: the request.
        subsidy: wei that the node adds.
    """
    if fees.ceiling(s.request, s.model, subsidy) >= fees.least(s.head.base_fee):
        return None
    return _underfunded(s, 1)


def _underfunded(s: Situation, least: int) -> Verdict:
    """At least what the contract accepts as a top-up, and enough for nodes to take the request."""
    wanted = fees.least(s.head.base_fee) * s.request.gas_units - fees.income(s.request, s.model)
    minimum = fees.minimum_top_up(s.request.gas_money)
    pays = s.request.gas_money // s.request.gas_units
    return Verdict(
        Cause.UNDERFUNDED,
        f"The request pays up to {gwei(pays)} per gas; the base fee is {gwei(s.head.base_fee)}, "
        f"and nodes take requests that pay {gwei(fees.least(s.head.base_fee))}",
        "Wait for the base fee to fall, or raise the gas money",
        (f"oracle top-up {s.name} --wei {max(wanted, least, minimum)}",),
    )


def unserved(s: Situation, registry: RegistryContract, starting: Starting) -> Verdict:
    """Nothing on the chain is against the request, and no node is known to work on it."""
    if s.found.model_closed:
        successor = registry.successor(s.model.model_id)
        other = f"model {successor}, its successor" if successor else "another model"
        return Verdict(
            Cause.MODEL_CLOSED,
            f"Its publisher has closed model {s.model.model_id}. This request may still be "
            "answered, but nodes have stopped serving the model, it seems",
            f"Ask {other}. {AFTER_DEADLINE}",
            (f"oracle refund {s.name}",),
        )
    return Verdict(
        Cause.NO_NODE,
        f"Nothing on the chain stands in its way; no node has answered for model "
        f"{s.model.model_id} yet",
        "Run a node that serves the model, or have an operator look at what the node makes of it. "
        + AFTER_DEADLINE,
        (
            starting.command,
            f"oracle why {s.name} --config {starting.config}",
            f"oracle refund {s.name}",
        ),
    )


def notes(s: Situation, verdict: Verdict) -> tuple[str, ...]:
    """What else a requester should know."""
    found, said = s.found, []
    if found.callback_missing:
        said.append(f"There is no contract at {s.request.callback_contract} to call back")
    if found.callback_gas_low:
        said.append(
            f"The callback gets {s.request.callback_gas:,} gas, less than storing one word takes: "
            "it will most likely fail"
        )
    if found.model_closed and verdict.cause is not Cause.MODEL_CLOSED:
        said.append(f"Model {s.model.model_id} takes no new requests any more")
    return tuple(said)
