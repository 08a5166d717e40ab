"""The publisher's side: a bundle's verifiers on the chain, its model in the registry."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oracle.chain.account import Account
from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import RegistryContract, code_hash
from oracle.chain.evidence import LogQuery
from oracle.chain.input_ranges import creation_code, deployed_code
from oracle.chain.registration import registration
from oracle.chain.rpc import Rpc
from oracle.chain.signer import Signer
from oracle.circuits.bundle import Bundle
from oracle.errors import ContractMismatch
from oracle.types import ZERO_ADDRESS


@dataclass(frozen=True, slots=True)
class Registered:
    """A model that was registered."""

    model_id: int
    #: Addresses of the verifiers, the one for a single row first.
    verifiers: tuple[str, ...]
    #: Address of the contract that holds the input ranges; the zero address without any.
    input_checker: str
    transaction_hash: bytes
    #: Gas of all transactions.
    gas_used: int


def register(
    bundle: Bundle,
    rpc: Rpc,
    registry: str,
    signer: Signer,
    *,
    fee: int,
    receiver: str | None = None,
    receiver_bps: int = 0,
    token: str = ZERO_ADDRESS,
    progress: Callable[[str], None] = lambda _: None,
    account: Account | None = None,
) -> Registered:
    """Deploy a bundle's verifiers and what holds its input ranges; register its model.

    Args:
        bundle: what was built.
        rpc: endpoints of the chain.
        registry: address of the ModelRegistry.
        signer: the publisher's account; it pays for the gas and may close the model later.
        fee: price of one inference in ``token``.
        receiver: who gets the publisher's share; the account itself by default.
        receiver_bps: that share in basis points.
        token: currency of the fee; the zero address is ETH.
        progress: called with a few words before each transaction.
        account: sends the transactions in place of a plain account of `signer`.

    Raises:
        SrsUnsafe: the bundle is for devnets and this chain is none; nothing was sent.
        ModelUnsupported: more input ranges than a contract holds; nothing was sent.
        ContractMismatch: a contract's code on the chain is not the bundle's.
        ChainError: a transaction failed.
    """
    bundle.require_safe(rpc.chain_id)
    ranges = bundle.spec.input_ranges
    checker_code = creation_code(ranges) if ranges else b""
    account = account or Account(rpc, signer)
    abi = ContractAbi.of("ModelRegistry")
    verifiers, gas = [], 0
    hashes = (
        bundle.spec.verifier_code_hash,
        *(batch.verifier_code_hash for batch in bundle.spec.batches),
    )
    for circuit, expected in zip(bundle.circuits, hashes, strict=True):
        progress(f"deploying the verifier for {circuit.size} rows")
        receipt = account.send(None, circuit.verifier_bytecode)
        gas += receipt.gas_used
        if receipt.contract is None or code_hash(rpc, receipt.contract) != expected:
            raise ContractMismatch(
                f"the verifier at {receipt.contract} is not the bundle's",
                remedy="Audit the bundle",
            ).ending_in(f"oracle model audit {shlex.quote(str(bundle.path))}")
        verifiers.append(receipt.contract)
    checker = ZERO_ADDRESS
    if ranges:
        progress("deploying the input ranges")
        receipt = account.send(None, checker_code)
        gas += receipt.gas_used
        if receipt.contract is None or rpc.code(receipt.contract) != deployed_code(ranges):
            raise ContractMismatch(
                f"the contract at {receipt.contract} does not hold the bundle's input ranges",
                remedy="Ask another RPC endpoint",
            )
        checker = receipt.contract
    progress("registering the model")
    model = registration(
        bundle.spec,
        verifiers=verifiers,
        fee=fee,
        receiver=receiver or account.address,
        receiver_bps=receiver_bps,
        token=token,
        input_checker=checker,
    )
    call = abi.call("register", _tuple(model))
    # Before the estimate: an endpoint words its refusal less clearly than the contract does.
    RegistryContract(rpc, registry).simulate(call, account.address)
    receipt = account.send(registry, call)
    block = receipt.block_number
    logs = rpc.logs(LogQuery(registry, (abi.topic("ModelRegistered"),), block, block))
    (mine,) = [log for log in logs if log.transaction_hash == receipt.transaction_hash]
    return Registered(
        model_id=abi.event("ModelRegistered", mine)["modelId"],
        verifiers=tuple(verifiers),
        input_checker=checker,
        transaction_hash=receipt.transaction_hash,
        gas_used=gas + receipt.gas_used,
    )


def _tuple(value: Any) -> Any:
    """A struct as the encoder takes it; its fields are in the struct's order."""
    return tuple(map(_tuple, value.values())) if isinstance(value, dict) else value
