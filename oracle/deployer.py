"""Registry, oracle and lens on a chain, and an adapter beside them: once, whatever happens on the way.

What is on a chain is written in ``deployments/<chain id>.json``. Where that file says that all is
there and the chain agrees, nothing is sent. While there is none, every transaction goes through a
journal beside it, so that a run that was killed is taken up where it was.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from oracle.chain import fork
from oracle.chain.account import Account
from oracle.chain.artifacts import Artifact, contract
from oracle.chain.contracts import code_hash
from oracle.chain.deployments import (
    DeployedContract,
    DeployedModel,
    Deployment,
    deployment_path,
    find,
    save,
)
from oracle.chain.journal import JournaledAccount
from oracle.chain.rpc import Rpc
from oracle.chain.signer import Signer
from oracle.chain.toolchain import SOLC_CONTRACTS
from oracle.chain.verification import write_verification
from oracle.circuits.bundle import LOCAL_CHAINS, Bundle
from oracle.errors import ConfigError, ContractMismatch, RpcUnreachable, UsageError, WrongChain
from oracle.publisher import Registered, register

#: What `verify/` describes: the oracle creates its text coder itself.
VERIFIED = ("ModelRegistry", "InferenceOracle", "InferenceLens", "TextCoder")
#: What may stand beside them.
ADAPTER = "OraAdapter"


def deploy(
    rpc: Rpc,
    signer: Signer,
    *,
    owner: str | None = None,
    folder: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Deployment, bool]:
    """Make sure that the contracts are on the chain as these sources compile them.

    Args:
        rpc: endpoints of the chain.
        signer: the account that pays; it has no rights in the contracts unless it is the owner.
        owner: may pause new requests; the account itself by default.
        folder: where it is recorded; the project's ``deployments`` by default.
        progress: called with a few words before each step.

    Returns:
        What is there, and whether this call put it there.

    Raises:
        ContractMismatch: what is recorded or was begun differs from the chain or these sources.
        WrongChain: another chain with the same id is recorded.
        ChainUnsuited: the chain cannot carry the contracts; nothing was sent.
        UsageError: the recorded oracle has another owner than asked for.
        ConfigError: another deployment runs, or its journal is another account's.
        ChainError: a transaction failed.
    """
    path = deployment_path(rpc.chain_id, folder)
    beside = path.with_suffix("")
    genesis = _genesis(rpc)
    with _alone(beside):
        recorded = _recorded(rpc.chain_id, genesis, folder)
        if recorded is not None:
            _check(rpc, recorded, owner)
            (beside / "deploy.journal").unlink(missing_ok=True)
            return recorded, False
        fork.require(rpc)
        journal = beside / "deploy.journal"
        if rpc.chain_id in LOCAL_CHAINS and _is_of_another_chain(journal, genesis):
            journal.unlink()
        account = JournaledAccount(rpc, signer, journal, genesis)
        made = _create_all(rpc, account, owner or signer.address, genesis, progress)
        for each in made.contracts:
            write_verification(each, beside / "verify")
        save(made, folder)
        account.finish()
    return made, True


def deploy_model(
    rpc: Rpc,
    signer: Signer,
    bundle: Bundle,
    *,
    fee: int,
    receiver_bps: int,
    folder: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> DeployedModel:
    """Make sure that a bundle's model is registered with the chain's recorded registry.

    Raises:
        ConfigError: no deployment is recorded.
        SrsUnsafe: the bundle is for devnets and this chain is none.
        ChainUnsuited: the chain cannot carry the contracts; nothing was sent.
        ChainError: a transaction failed.
    """
    bundle.require_safe(rpc.chain_id)
    beside = deployment_path(rpc.chain_id, folder).with_suffix("")
    genesis = _genesis(rpc)
    with _alone(beside):
        recorded = _require_recorded(rpc.chain_id, genesis, folder)
        for model in recorded.models:
            if model.bundle == bundle.bundle_id:
                return model
        fork.require(rpc)
        journal = beside / f"{bundle.bundle_id[:16]}.journal"
        account = JournaledAccount(rpc, signer, journal, genesis)
        found = register(
            bundle,
            rpc,
            recorded.registry,
            signer,
            fee=fee,
            receiver_bps=receiver_bps,
            progress=progress,
            account=account,
        )
        made = deployed_model(bundle, found)
        versions = {**bundle.versions, **recorded.versions}
        save(replace(recorded, models=(*recorded.models, made), versions=versions), folder)
        account.finish()
    return made


def deploy_adapter(
    rpc: Rpc,
    signer: Signer,
    *,
    owner: str | None = None,
    folder: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[str, bool]:
    """Make sure that an adapter for ORA's consumers stands beside the chain's recorded oracle.

    Its owner, who gives ids to models there, is the account itself by default.

    Returns:
        Its address, and whether this call put it there.

    Raises:
        ConfigError: no deployment is recorded.
        ChainUnsuited: the chain cannot carry the contracts; nothing was sent.
        ChainError: a transaction failed.
    """
    beside = deployment_path(rpc.chain_id, folder).with_suffix("")
    genesis = _genesis(rpc)
    with _alone(beside):
        recorded = _require_recorded(rpc.chain_id, genesis, folder)
        for each in recorded.contracts:
            if each.name == ADAPTER:
                return each.address, False
        fork.require(rpc)
        account = JournaledAccount(rpc, signer, beside / "adapter.journal", genesis)
        progress(f"creating {ADAPTER}")
        made, _ = _create(rpc, account, ADAPTER, recorded.oracle, owner or signer.address)
        write_verification(made, beside / "verify")
        save(replace(recorded, contracts=(*recorded.contracts, made)), folder)
        account.finish()
    return made.address, True


def deployed_model(bundle: Bundle, registered: Registered) -> DeployedModel:
    """What is recorded of a bundle's registration."""
    return DeployedModel(
        model_id=registered.model_id,
        name=bundle.name,
        verifier=registered.verifiers[0],
        code_hash="0x" + bundle.spec.verifier_code_hash.hex(),
        bundle=bundle.bundle_id,
    )


def _create_all(
    rpc: Rpc, account: Account, owner: str, genesis: str, progress: Callable[[str], None]
) -> Deployment:
    contracts: list[DeployedContract] = []
    blocks: list[int] = []

    def create(name: str, *arguments: Any) -> str:
        progress(f"creating {name}")
        made, block = _create(rpc, account, name, *arguments)
        contracts.append(made)
        blocks.append(block)
        return made.address

    registry = create("ModelRegistry")
    oracle = create("InferenceOracle", registry, owner)
    created_oracle = bytes.fromhex(contracts[-1].transaction.removeprefix("0x"))
    create("InferenceLens", oracle)
    coder = contract("TextCoder")
    contracts.append(_described(rpc, coder, _first_created_by(oracle), b"", created_oracle))
    return Deployment(
        chain_id=rpc.chain_id,
        oracle=oracle,
        registry=registry,
        block=blocks[0],
        models=(),
        versions={"solc_contracts": SOLC_CONTRACTS},
        genesis=genesis,
        contracts=tuple(contracts),
    )


def _create(rpc: Rpc, account: Account, name: str, *arguments: Any) -> tuple[DeployedContract, int]:
    """Create a contract; what is recorded of it, and the block that it is in."""
    built = contract(name)
    encoded = _encoded(built, arguments)
    receipt = account.send(None, built.bytecode + encoded)
    if receipt.contract is None or not rpc.code(receipt.contract):
        raise ContractMismatch(
            f"the transaction 0x{receipt.transaction_hash.hex()} left no {name}",
            remedy="Ask another RPC endpoint",
        )
    made = _described(rpc, built, receipt.contract, encoded, receipt.transaction_hash)
    return made, receipt.block_number


def _described(
    rpc: Rpc, built: Artifact, address: str, arguments: bytes, transaction: bytes
) -> DeployedContract:
    return DeployedContract(
        name=built.name,
        address=address,
        code_hash="0x" + code_hash(rpc, address).hex(),
        creation_hash="0x" + keccak(built.bytecode).hex(),
        arguments="0x" + arguments.hex(),
        transaction="0x" + transaction.hex(),
    )


def _require_recorded(chain_id: int, genesis: str, folder: Path | None) -> Deployment:
    found = _recorded(chain_id, genesis, folder)
    if found is None:
        raise ConfigError(
            f"no deployment is recorded for chain {chain_id}", remedy="Run: oracle deploy"
        )
    return found


def _recorded(chain_id: int, genesis: str, folder: Path | None) -> Deployment | None:
    """The chain's record. That of a devnet that is gone counts as none."""
    found = find(chain_id, folder)
    if found is None or found.genesis == genesis:
        return found
    if chain_id in LOCAL_CHAINS:
        return None
    raise WrongChain(
        f"the deployment recorded for chain {chain_id} is on another chain of that id",
        remedy=f"Check --rpc, or move {deployment_path(chain_id, folder)} away",
    )


def _check(rpc: Rpc, recorded: Deployment, owner: str | None) -> None:
    """Refuse a record that the chain or the sources contradict."""
    remedy = (
        f"Check --rpc; to deploy anew, move {recorded.chain_id}.json and the folder "
        f"{recorded.chain_id} in deployments away"
    )
    if {each.name for each in recorded.contracts} - {ADAPTER} != set(VERIFIED):
        raise ContractMismatch(
            f"the record of chain {recorded.chain_id} does not say what its code must be",
            remedy=remedy,
        )
    for each in recorded.contracts:
        if "0x" + code_hash(rpc, each.address).hex() != each.code_hash:
            raise ContractMismatch(
                f"the code at {each.address} is not the recorded {each.name}", remedy=remedy
            )
        built = contract(each.name)
        if "0x" + keccak(built.bytecode).hex() != each.creation_hash:
            raise ContractMismatch(
                f"the {each.name} on chain {recorded.chain_id} was made from other sources",
                remedy=remedy,
            )
        if each.name == "InferenceOracle" and owner is not None:
            wanted = "0x" + _encoded(built, (recorded.registry, owner)).hex()
            if each.arguments != wanted:
                raise UsageError(
                    f"the oracle on chain {recorded.chain_id} was deployed with another owner",
                    remedy="Leave --owner out; the owner hands over with transferOwnership",
                )


def _encoded(built: Artifact, arguments: tuple[Any, ...]) -> bytes:
    inputs: list[Any] = next((e["inputs"] for e in built.abi if e["type"] == "constructor"), [])
    return encode([collapse_if_tuple(each) for each in inputs], arguments)


def _first_created_by(creator: str) -> str:
    """Address of the first contract that a contract creates: keccak256(rlp([creator, 1]))."""
    rlp = b"\xd6\x94" + bytes.fromhex(creator.removeprefix("0x")) + b"\x01"
    return str(to_checksum_address(keccak(rlp)[12:]))


def _genesis(rpc: Rpc) -> str:
    block = rpc.block(0)
    if block is None:
        raise RpcUnreachable(
            "the RPC endpoint does not have the chain's first block", remedy="Ask another one"
        )
    return "0x" + block.hash.hex()


def _is_of_another_chain(journal: Path, genesis: str) -> bool:
    return journal.exists() and genesis not in journal.read_text()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two deployments at once would send everything twice."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(
            f"another deployment is at work in {folder}", remedy="Wait until it ends"
        ) from None
    finally:
        os.close(handle)
