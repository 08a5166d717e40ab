"""What an operator's set-up must have, each looked at by itself: `oracle node check`.

Nothing is sent and no store is written; a running node is not disturbed.
"""

from __future__ import annotations

import errno
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from oracle import drift, tensor
from oracle.access import Access
from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import OracleContract, verifier_accepts
from oracle.chain.evidence import Block
from oracle.chain.rpc import Rpc, fewer_blocks, redacted
from oracle.config import NodeConfig
from oracle.errors import (
    ConfigError,
    ContractMismatch,
    OracleError,
    ProofInvalid,
    RpcLimit,
    RpcRejected,
    RpcUnreachable,
    StoreError,
    StoreMissing,
    StoreOutdated,
)
from oracle.machine import available_memory, free_disk
from oracle.policy import ServedModel
from oracle.prover.base import Prover, resident_bytes
from oracle.prover.configured import prover_for
from oracle.store.ledger import Store
from oracle.store.running import is_running
from oracle.types import Proof, ProofJob

#: What a node's pages are called.
PAGES = "pages"
#: Blocks that an endpoint may be behind the best one.
_BEHIND = 20
#: Blocks of a fee history that is asked for.
_FEE_BLOCKS = 4
_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    subject: str
    #: What was found, for a person.
    detail: str
    error: OracleError | None = None
    #: Something that does not keep a node from its work.
    is_warning: bool = False


def attempt(subject: str, look: Callable[[], str]) -> Finding:
    """What ``look`` found, or why it failed."""
    try:
        return Finding(subject, look())
    except OracleError as error:
        return Finding(subject, error.message, error)


def endpoints(config: NodeConfig, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Each endpoint by itself: that it answers all that a node asks, and is not behind the others.

    And this machine's clock, by the newest block that they have.
    """
    places = config.endpoints
    heads: dict[int, Block] = {}
    findings = [
        attempt("rpc", partial(_head, number, place, config, heads))
        for number, place in enumerate(places)
    ]
    if not heads:
        return findings
    best = max(heads.values(), key=lambda head: head.number)
    behind = {number: best.number - head.number for number, head in heads.items()}
    beyond = config.start_block > best.number
    return [
        *(
            _late(places[number].url, behind[number])
            if behind.get(number, 0) > _BEHIND
            else finding
            for number, finding in enumerate(findings)
        ),
        _clock(best, clock()),
        *([_not_begun(config.start_block, best.number)] if beyond else ()),
    ]


def _not_begun(start_block: int, head: int) -> Finding:
    error = ConfigError(
        f"start_block {start_block} is beyond the newest block, {head}: nothing would be served",
        remedy="Set start_block to the block that the oracle was deployed in",
    )
    return Finding("start", error.message, error)


def _clock(head: Block, now: float) -> Finding:
    """What this machine's clock is worth. A single look cannot tell it from a chain that rests."""
    ahead = now - head.timestamp
    if abs(ahead) <= drift.LIMIT:
        return Finding("clock", f"within {drift.LIMIT:.0f} s of block {head.number}")
    unless = (
        f", unless no block was made since block {head.number} or the endpoints are late"
        if ahead > 0
        else ""
    )
    return Finding(
        "clock",
        f"{drift.describe(ahead)}{unless}. Set it (timedatectl): deadlines go by the chain's, but "
        "waits, the age of rows and the log go by this one",
        is_warning=True,
    )


def _head(number: int, place: Access, config: NodeConfig, heads: dict[int, Block]) -> str:
    rpc = Rpc([place], config.chain_id, config.rpc_timeout)
    started = time.monotonic()
    heads[number] = rpc.head()
    head = heads[number].number
    spent = (time.monotonic() - started) * 1000
    oracle = OracleContract(rpc, config.oracle)
    # What the contract says is looked at later: here, that the endpoint has the state.
    with suppress(ContractMismatch):
        oracle.registry()
    return (
        f"{redacted(place.url)} serves chain {config.chain_id}, block {head} ({spent:.0f} ms), "
        f"{_takes(oracle, place, config, head)}, {_prices(rpc)}"
    )


def _takes(oracle: OracleContract, place: Access, config: NodeConfig, head: int) -> str:
    """What it takes in a log query."""
    if not place.logs:
        return "is not asked for logs"
    asked, taken = _logs(oracle, place, config, head)
    limit = "" if taken == asked else f" (of the {asked} that log_chunk allows)"
    return f"takes {taken} blocks in a log query{limit}"


def _logs(oracle: OracleContract, place: Access, config: NodeConfig, head: int) -> tuple[int, int]:
    """The blocks that a log query may cover by the configuration, and those that were answered.

    Raises:
        OracleError: not even one block's logs were.
    """
    chunk = min(config.log_chunk, place.log_blocks or config.log_chunk)
    asked = blocks = max(1, min(chunk, head - config.start_block + 1))
    while True:
        try:
            oracle.events(max(0, head - blocks + 1), head)
        except (RpcLimit, RpcUnreachable) as error:
            if blocks == 1:
                raise
            blocks = fewer_blocks(error, blocks)
        else:
            return asked, blocks


def _prices(rpc: Rpc) -> str:
    """How it tells what gas costs."""
    try:
        rpc.fee_history(_FEE_BLOCKS, 50)
    except RpcRejected:
        return f"has no fee history, its gas price is used (a tip of {rpc.priority_fee()} wei)"
    return "has a fee history"


def _late(url: str, blocks: int) -> Finding:
    error = RpcUnreachable(
        f"{redacted(url)} is {blocks} blocks behind the other endpoints",
        remedy="Put it last in rpc_urls, or take it out",
    )
    return Finding("rpc", error.message, error)


def functions(rpc: Rpc, address: str, name: str) -> str:
    """That a contract has every function that this version of the program calls.

    Raises:
        ContractMismatch: it is another version.
    """
    code = rpc.code(address)
    selectors = ContractAbi.of(name).selectors()
    # The dispatcher holds each selector as a number: without leading zeros.
    missing = [signature for signature, s in selectors.items() if s.lstrip(b"\0") not in code]
    if missing:
        raise ContractMismatch(
            f"the {name} at {address} lacks {', '.join(sorted(missing)[:3])}"
            + (f" and {len(missing) - 3} more functions" if len(missing) > 3 else ""),
            remedy="Use the version of this program that the contract was deployed with",
        )
    return f"{name} at {address} has all {len(selectors)} functions"


def store(config: NodeConfig) -> str:
    """That the store can be made, or is this node's.

    Raises:
        StoreError: it cannot be reached, is another oracle's, or of a newer version.
        ConfigError: it cannot be written.
    """
    if isinstance(config.store, Path):
        _require_writable(config.store.parent, "store")
    try:
        opened = Store.open(config.store, config.chain_id, config.oracle, time.time, read_only=True)
    except (StoreMissing, StoreOutdated) as error:
        # The next start sees to it.
        return error.message
    try:
        return f"{opened.place} has {sum(opened.counts().values())} requests"
    finally:
        opened.close()


def pages(config: NodeConfig) -> list[Finding]:
    """A warning where the node's pages could not be served; nothing beside a node that serves them."""
    if not config.http_port:
        return []
    try:
        with socket.create_server((config.http_host, config.http_port)):
            return []
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _are_served(config):
            return []
        detail = (
            f"{config.http_host}:{config.http_port} cannot be listened on ({error.strerror}): no "
            "pages and no metrics would be served. Correct http_host and http_port, or end what has it"
        )
        return [Finding(PAGES, detail, is_warning=True)]


def _are_served(config: NodeConfig) -> bool:
    """Whether a node runs on the store that has no trouble with its pages."""
    try:
        opened = Store.open(config.store, config.chain_id, config.oracle, time.time, read_only=True)
    except StoreError:
        return False
    try:
        is_served = all(trouble.subject != PAGES for trouble in opened.troubles())
        return is_served and is_running(opened, config.store)
    except StoreError:
        return False
    finally:
        opened.close()


def disk(config: NodeConfig) -> str:
    """That there is room for the work folder, and for the store if it is a file.

    Raises:
        ConfigError: less than ``min_disk_bytes``, or the folder cannot be written.
    """
    _require_writable(config.work_dir, "work_dir")
    left = min(map(free_disk, config.folders.values()))
    if left < config.min_disk_bytes:
        raise ConfigError(
            f"{left >> 20} MiB of disk left, {config.min_disk_bytes >> 20} MiB are to be kept",
            remedy="Make room, or lower min_disk_bytes",
        )
    return f"{left >> 30} GiB left"


def memory(config: NodeConfig, served: Sequence[ServedModel]) -> str:
    """That the proofs that may run at once on this machine fit.

    Raises:
        ConfigError: they do not.
    """
    each = [resident_bytes(c.memory_bytes) for model in served for c in model.circuits]
    largest, left = max(each, default=0), available_memory()
    if config.ray_address is not None:
        needed = 0
    elif config.memory_bytes is None:
        needed = config.workers * largest
    else:
        # More of them wait for memory; one alone does not.
        needed = max(largest, min(config.workers * largest, config.memory_bytes))
    if left < needed + config.min_memory_bytes:
        raise ConfigError(
            f"{left >> 20} MiB of memory left; {config.workers} of the largest proofs at once need "
            f"{needed >> 20} MiB, and {config.min_memory_bytes >> 20} MiB are to be kept",
            remedy="Lower workers, memory_bytes or min_memory_bytes, or serve smaller models",
        )
    return f"{left >> 20} MiB left, proofs need {needed >> 20} MiB"


def trial(model: ServedModel, config: NodeConfig, rpc: Rpc | None, verifier: str) -> str:
    """That a proof of the model can be made here, and that its verifier on chain accepts it.

    Args:
        model: the smallest of its circuits is tried, on zeros.
        config: limits and threads.
        rpc: the chain; None when it cannot be reached.
        verifier: address of the registered verifier.

    Raises:
        ProverError: no proof, or none that the verifier accepts.
    """
    circuit, spec = model.circuits[0], model.spec
    ranges = tensor.ranges_of(spec.input, spec.input_ranges)
    zeros = tuple(min(max(0, low), high) for low, high in ranges)
    job = ProofJob(
        job_id="trial",
        circuit=circuit.circuit,
        inputs=zeros * circuit.size,
        tag=(1,) * spec.tag.limbs,
        timeout=config.prove_timeout,
        memory_bytes=circuit.memory_bytes,
    )
    with tempfile.TemporaryDirectory(prefix="oracle-trial-") as folder:
        prover = prover_for(config, Path(folder), 1)
        try:
            proof = _prove(prover, job)
        finally:
            prover.close()
    seconds = proof.witness_seconds + proof.prove_seconds + proof.verify_seconds
    made = f"{model.name} proved in {seconds:.2f} s with {proof.peak_memory_bytes >> 20} MiB"
    if rpc is None or not verifier:
        return f"{made}, not shown to its verifier"
    if not verifier_accepts(rpc, verifier, proof.proof, proof.instances):
        raise ProofInvalid(
            f"the verifier of {model.name} at {verifier} rejects its proof",
            remedy="Use the bundle that the model was registered with",
        )
    return f"{made}, accepted by {verifier}"


def _prove(prover: Prover, job: ProofJob) -> Proof:
    prover.submit(job)
    while not (outcomes := prover.poll()):
        time.sleep(_POLL)
    result = outcomes[0].result
    if isinstance(result, OracleError):
        raise result
    return result


def _require_writable(folder: Path, field: str) -> None:
    """That a folder, or the one in which it is to be made, can be written."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        # Asked by doing: permission bits say nothing about read-only disks.
        with tempfile.TemporaryFile(dir=there):
            return
    except OSError as error:
        raise ConfigError(
            f"{there} cannot be written ({error.strerror})", remedy=f"Correct {field}, or its owner"
        ) from None
