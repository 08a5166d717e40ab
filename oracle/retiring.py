"""What a publisher can still do about a registered model: close it, and name its successor.

Both are for good. All that the contract would refuse is said before anything is sent.
"""

from __future__ import annotations

from oracle.chain.account import Account
from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import RegistryContract
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signer import Signer
from oracle.errors import UsageError


def close(rpc: Rpc, registry: RegistryContract, signer: Signer, model_id: int) -> Receipt:
    """Stop new requests for a model; open ones may still be answered.

    Args:
        rpc: endpoints of the chain.
        registry: where the model is registered.
        signer: the account that registered it.
        model_id: the model.

    Raises:
        UsageError: there is no such model, it is another account's, or closed; nothing was sent.
        ChainError: the transaction failed.
    """
    _require_own(registry, signer, model_id)
    if not registry.is_open(model_id):
        raise UsageError(
            f"model {model_id} is closed already", remedy="Nothing to do: that cannot be undone"
        )
    return _send(rpc, registry, signer, "close", model_id)


def succeed(
    rpc: Rpc, registry: RegistryContract, signer: Signer, model_id: int, successor: int
) -> Receipt:
    """Name the model that replaces another one, once.

    Args:
        rpc: endpoints of the chain.
        registry: where both are registered.
        signer: the account that registered the one that is replaced.
        model_id: that one.
        successor: the model that replaces it, anybody's.

    Raises:
        UsageError: there is no such model, it is another account's or has a successor, or the
            successor is closed or not registered later; nothing was sent.
        ChainError: the transaction failed.
    """
    _require_own(registry, signer, model_id)
    named = registry.successor(model_id)
    if named is not None:
        raise UsageError(
            f"model {model_id} has a successor already, model {named}",
            remedy="It is named once and for good"
            + ("" if named == successor else f": name one for model {named} instead"),
        )
    _require_known(registry, successor)
    if successor <= model_id:
        raise UsageError(
            f"model {successor} cannot succeed model {model_id}: a successor is registered later",
            remedy=f"Name a model above {model_id}",
        )
    if not registry.is_open(successor):
        raise UsageError(
            f"model {successor} is closed and takes no requests", remedy="Name an open model"
        )
    return _send(rpc, registry, signer, "setSuccessor", model_id, successor)


def _require_own(registry: RegistryContract, signer: Signer, model_id: int) -> None:
    _require_known(registry, model_id)
    publisher = registry.publisher(model_id)
    if publisher != signer.address:
        raise UsageError(
            f"model {model_id} is {publisher}'s, not {signer.address}'s",
            remedy="Give the account that registered it",
        )


def _require_known(registry: RegistryContract, model_id: int) -> None:
    count = registry.count()
    if not 1 <= model_id <= count:
        raise UsageError(
            f"there is no model {model_id}",
            remedy=f"Choose an id from 1 to {count}" if count else "None is registered here yet",
        )


def _send(
    rpc: Rpc, registry: RegistryContract, signer: Signer, function: str, *arguments: int
) -> Receipt:
    call = ContractAbi.of("ModelRegistry").call(function, *arguments)
    # Before the estimate: an endpoint words its refusal less clearly than the contract does.
    registry.simulate(call, signer.address)
    return Account(rpc, signer).send(registry.address, call)
