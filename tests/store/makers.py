"""Stores and rows for the tests."""

from __future__ import annotations

from typing import Any

from oracle.store.database import Location
from oracle.store.ledger import Store
from oracle.store.records import Attempt
from oracle.store.states import RequestState
from oracle.types import Proof, Request, RequestKey

CHAIN = 31337
ORACLE = "0x" + "0A" * 20
ACCOUNT = "0x" + "0E" * 20
BIG = 2**256 - 1


def make_store(location: Location, **options: Any) -> Store:
    values: dict[str, Any] = {"chain_id": CHAIN, "oracle": ORACLE, "clock": lambda: 1000.0}
    return Store.open(location, **(values | options))


def make_request(request_id: int = 7, **changes: Any) -> Request:
    values: dict[str, Any] = {
        "key": RequestKey(CHAIN, ORACLE, request_id),
        "account": ACCOUNT,
        "model_id": 1,
        "input": b"\x00\x01",
        "callback_contract": ACCOUNT,
        "callback_gas": 100_000,
        "callback_data": b"data",
        "refund_to": ACCOUNT,
        "deadline": 2000,
        "fee": 10**18,
        "gas_money": 10**19,
        "gas_units": 1_000_000,
        "protocol_bps": 0,
        "block_number": 5,
        "block_hash": b"h" * 32,
        "transaction_hash": b"t" * 32,
        "log_index": 0,
    }
    return Request(**(values | changes))


def make_proof(job_id: str, **changes: Any) -> Proof:
    values: dict[str, Any] = {
        "job_id": job_id,
        "proof": b"proof",
        "instances": (1, 2),
        "outputs": (-3, 2**100),
        "witness_seconds": 0.1,
        "prove_seconds": 0.3,
        "verify_seconds": 0.1,
        "peak_memory_bytes": 1,
    }
    return Proof(**(values | changes))


def make_attempt(hash_: bytes = b"x" * 32, **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "hash": hash_,
        "raw": b"raw",
        "max_fee": 10**30,
        "priority_fee": 1,
        "cancels": False,
        "broadcast_at": None,
        "created_at": 1000.0,
    }
    return Attempt(**(values | changes))


def see_head(store: Store, timestamp: int) -> None:
    """The chain's newest block is of this time, and was read."""
    store.start_cursor(0, 100)
    store.set_head(1, timestamp, 1)
    store.advance(1, [], timestamp)


def force_state(store: Store, request_id: int, state: RequestState) -> None:
    """Put a request in any state, past the table."""
    store._db._connection().execute(
        f"UPDATE requests SET state = '{state}' WHERE request_id = '{hex(request_id)}'"
    )


def accept(store: Store, request: Request, job_id: str = "job") -> None:
    """Take a request to QUEUED."""
    store.add_request(request)
    request_id = request.key.request_id
    assert store.move(request_id, RequestState.SEEN, RequestState.ACCEPTED)
    assert store.enqueue([request_id], job_id, "bundle", size=1, memory_bytes=1 << 30)
