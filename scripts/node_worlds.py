"""What `bench_node` lets a node run against: old logs from a quick endpoint, a full store."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

from oracle.chain.codec import ContractAbi
from oracle.chain.rpc import Transport
from oracle.store.ledger import Store
from oracle.types import ZERO_ADDRESS

#: Logs of a request that was answered: asked, its terms, fulfilled.
LOGS_PER_REQUEST = 3
_SOMEBODY = "0x" + "0c" * 20


class OldLogs:
    """An endpoint with old answered requests, one a block, in front of one that does the rest.

    Args:
        inner: a chain on which the contracts are.
        oracle: the contract that the logs are of.
        logs: how many.
        deadline: of each request (seconds since the epoch).
    """

    def __init__(self, inner: Transport, oracle: str, logs: int, deadline: int) -> None:
        self._inner = inner
        self._oracle = oracle
        self._timestamp = hex(int(time.time()))
        #: Number of the latest block.
        self.height = logs // LOGS_PER_REQUEST
        abi = ContractAbi.of("InferenceOracle")
        # The same request over and over but for its id, which stands in the topics alone.
        self._events = [
            abi.encode_event(
                "AICallbackRequest",
                account=_SOMEBODY,
                requestId=0,
                modelId=1,
                input=bytes(16),
                callbackContract=ZERO_ADDRESS,
                gasLimit=0,
                callbackData=b"",
            ),
            abi.encode_event(
                "RequestOpened",
                requestId=0,
                refundTo=_SOMEBODY,
                deadline=deadline,
                fee=10**14,
                gasMoney=10**16,
                gasUnits=10**6,
                protocolBps=0,
            ),
            abi.encode_event(
                "RequestFulfilled",
                requestId=0,
                payee=_SOMEBODY,
                feePaid=10**14,
                gasPaid=10**15,
                callbackSucceeded=True,
            ),
        ]
        self._id_topic = (2, 1, 1)

    def send(self, method: str, params: list[Any]) -> Any:
        """See `oracle.chain.rpc.Transport`."""
        if method == "eth_getBlockByNumber":
            number = self.height if params[0] == "latest" else int(params[0], 16)
            return self._block(number) if number <= self.height else None
        if method == "eth_getLogs":
            first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
            blocks = range(max(first, 1), min(last, self.height) + 1)
            return [log for number in blocks for log in self._logs(number)]
        return self._inner.send(method, params)

    def _block(self, number: int) -> dict[str, str]:
        return {
            "number": hex(number),
            "hash": _hash(number),
            "parentHash": _hash(number - 1),
            "timestamp": self._timestamp,
            "baseFeePerGas": hex(10**9),
            "gasLimit": hex(30_000_000),
        }

    def _logs(self, number: int) -> list[dict[str, Any]]:
        request_id = "0x" + keccak(b"request%d" % number).hex()
        logs = []
        for index, (topics, data) in enumerate(self._events):
            named = ["0x" + topic.hex() for topic in topics]
            named[self._id_topic[index]] = request_id
            logs.append(
                {
                    "address": self._oracle,
                    "topics": named,
                    "data": "0x" + data.hex(),
                    "blockNumber": hex(number),
                    "blockHash": _hash(number),
                    "transactionHash": _hash(10**9 + number + (index == LOGS_PER_REQUEST - 1)),
                    "logIndex": hex(index),
                }
            )
        return logs


def _hash(number: int) -> str:
    return "0x" + keccak(b"block%d" % number).hex()


_FILL = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN;
CREATE TEMP TABLE n (i INTEGER PRIMARY KEY);
WITH RECURSIVE up(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM up WHERE i < {rows})
INSERT INTO n SELECT i FROM up;
INSERT INTO jobs (job_id, bundle_id, size, state, attempts, memory_bytes, proof, outputs, prove_time, created_at)
SELECT printf('%032x', i), '{bundle}', 1, 'proved', 1, 1000000000, zeroblob(800), '["1","2","3"]', 0.5, {now} - {rows} + i FROM n;
INSERT INTO requests (request_id, state, reason, account, model_id, input, callback_contract, callback_gas,
    callback_data, refund_to, deadline, expires_at, fee, gas_money, gas_units, protocol_bps, block_number, block_hash,
    transaction_hash, log_index, job_id, seen_at, updated_at)
SELECT printf('0x%x', 1000000000 + i), CASE WHEN i % 50 = 0 THEN 'skipped' WHEN i % 20 = 0 THEN 'lost' ELSE 'final' END,
    CASE WHEN i % 50 = 0 THEN 'fee_low: pays too little' ELSE '' END, '{somebody}', '1', zeroblob(16), '{zero}', '0', zeroblob(0), '{somebody}',
    '{now}', {now}, '100000000000000', '10000000000000000', '1000000', 0, {block} - ({rows} - i) / 3,
    zeroblob(32), zeroblob(32), i % 3,
    printf('%032x', i), {now} - {rows} + i, {now} - {rows} + i FROM n;
INSERT INTO job_requests (job_id, position, request_id) SELECT printf('%032x', i), 0, printf('0x%x', 1000000000 + i) FROM n;
INSERT INTO intents (intent_id, account, nonce, state, gas, ceiling, mined_block, created_at, job_id)
SELECT i, '{somebody}', i, 'final', 600000, '2000000000', 1, {now}, printf('%032x', i) FROM n WHERE i % 50 AND i % 20;
INSERT INTO intent_requests (intent_id, request_id) SELECT i, printf('0x%x', 1000000000 + i) FROM n WHERE i % 50 AND i % 20;
INSERT INTO transactions (hash, intent_id, raw, max_fee, priority_fee, cancels, broadcast_at, created_at)
SELECT unhex_(i), i, zeroblob(500), '2000000000', '100000000', 0, {now}, {now} FROM n WHERE i % 50 AND i % 20;
INSERT INTO history (request_id, at, state, reason) SELECT printf('0x%x', 1000000000 + i), {now} - {rows} + i, 'final', '' FROM n;
UPDATE cursor SET block = {block};
COMMIT;
"""


def fill(path: Path, chain_id: int, oracle: str, *, rows: int, block: int, bundle: str) -> None:
    """A store of ``rows`` requests that ended in the last days, read up to ``block``."""
    store = Store.open(path, chain_id, oracle, time.time)
    store.start_cursor(block, 2_000)
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.create_function("unhex_", 1, lambda i: int(i).to_bytes(32, "big"))
    connection.executescript(
        _FILL.format(
            rows=rows,
            now=int(time.time()) - 3600,
            bundle=bundle,
            somebody=_SOMEBODY,
            zero=ZERO_ADDRESS,
            block=block,
        )
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
