"""The JavaScript client beside a chain: a process that is told what to call."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from web3.types import TxReceipt

from tests.contracts.anvil import Devnet
from tests.js.project import HERE
from tests.patience import PATIENCE

#: Of anvil's accounts, which everybody knows: the second.
KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
PAYER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


class Client:
    """`inferenceClient` of one library; a context manager that ends it."""

    def __init__(self, project: Path, library: str, url: str, oracle: str, key: str = KEY) -> None:
        script = project / "client.mjs"
        script.write_text((HERE / "client.mjs").read_text())
        self._ids = itertools.count()
        self._said: dict[int, dict[str, Any]] = {}
        self._process = subprocess.Popen(
            ["node", script.name, library, url, oracle, key],
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, method: str, *arguments: Any) -> int:
        """Call a method and go on meanwhile; what to ask `end` for."""
        number = next(self._ids)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "method": method, "args": arguments}))
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return number

    def end(self, number: int) -> dict[str, Any]:
        """What a call came to: ``value``, what a contract ``reverted`` with, or an error's ``code``."""
        assert self._process.stdout is not None
        while number not in self._said:
            line = self._process.stdout.readline()
            assert line, "the client ended"
            said = json.loads(line)
            self._said[said.pop("id")] = said
        return self._said.pop(number)

    def __call__(self, method: str, *arguments: Any) -> dict[str, Any]:
        """What a call comes to."""
        return self.end(self.begin(method, *arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def url_of(devnet: Devnet) -> str:
    return str(devnet.w3.provider.endpoint_uri)  # type: ignore[attr-defined]


def next_request(devnet: Devnet, oracle: Any, known: int) -> TxReceipt:
    """The receipt of the first request that is mined after a block."""
    end = time.monotonic() + PATIENCE
    while True:
        logs = oracle.events.AICallbackRequest().get_logs(from_block=known)
        new = [log for log in logs if log["blockNumber"] > known]
        if new:
            return devnet.w3.eth.get_transaction_receipt(new[0]["transactionHash"])
        assert time.monotonic() < end, "nobody asked"
        time.sleep(0.02)
