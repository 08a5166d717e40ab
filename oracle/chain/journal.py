"""Transactions that survive the process that sends them.

Each is signed and written down before it is broadcast. A procedure that sends the same transactions
in the same order can then be run again after a crash at any point: what was mined is not sent again,
what was broadcast is waited for, and the rest is sent. All versions of one transaction have the same
nonce, so at most one of them is mined.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

from oracle.chain.account import Account
from oracle.chain.deployments import write_whole
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signer import Signer
from oracle.errors import ConfigError, ContractMismatch, RpcRejected


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction of the procedure."""

    #: keccak256 of what it does: receiver, data, value.
    content: bytes
    nonce: int
    #: Its signed versions, oldest first.
    raw: tuple[bytes, ...]

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Transaction hashes of the versions."""
        return tuple(map(keccak, self.raw))


class JournaledAccount(Account):
    """An account whose transactions are written to a file, and taken up again from it.

    Args:
        rpc: endpoints of the chain.
        signer: the account that pays.
        path: the file; it must belong to this procedure alone.
        genesis: hash of the chain's block 0.

    Raises:
        ConfigError: the file is another account's or another chain's, or damaged.
    """

    def __init__(self, rpc: Rpc, signer: Signer, path: Path, genesis: str) -> None:
        super().__init__(rpc, signer)
        self._path = path
        self._about = {"account": signer.address, "chain_id": rpc.chain_id, "genesis": genesis}
        self._entries = _read(path, self._about)
        self._next = 0

    def send(self, to: str | None, data: bytes, value: int = 0) -> Receipt:
        """See `Account.send`: the first time it is sent, afterwards its receipt is looked up.

        Raises:
            ContractMismatch: the procedure is not the one that was interrupted.
        """
        content = keccak(b"|".join([(to or "create").lower().encode(), data, b"%d" % value]))
        index, self._next = self._next, self._next + 1
        if index == len(self._entries):
            nonce = self._rpc.nonce(self.address)
            self._put(index, Entry(content, nonce, (self.sign(to, data, value, nonce).raw,)))
            self._rpc.send_raw(self._entries[index].raw[-1])
        elif self._entries[index].content != content:
            raise ContractMismatch(
                f"step {index + 1} is not that of the interrupted run in {self._path}",
                remedy="Run it with the sources and options of then, or delete that file to "
                "begin anew",
            )
        else:
            self._take_up(index, to, data, value)
        return self.wait(*self._entries[index].hashes)

    def finish(self) -> None:
        """The procedure is done and its outcome recorded: forget how."""
        self._path.unlink(missing_ok=True)

    def _take_up(self, index: int, to: str | None, data: bytes, value: int) -> None:
        """Make sure that an interrupted transaction is mined or on its way."""
        entry = self._entries[index]
        # The nonce first: a version that is mined in between is found by its receipt.
        nonce = self._rpc.nonce(self.address)
        if any(self._rpc.receipt(each) for each in entry.hashes):
            return
        if nonce > entry.nonce:
            # Another transaction has this nonce: none of the versions can be mined any more.
            entry = Entry(entry.content, nonce, (self.sign(to, data, value, nonce).raw,))
            self._put(index, entry)
        try:
            self._rpc.send_raw(entry.raw[-1])
        except RpcRejected:
            if self._is_known(entry):
                return
            # Priced below today's base fee, or forgotten: the same at today's price.
            newer = self.sign(to, data, value, entry.nonce).raw
            self._put(index, Entry(entry.content, entry.nonce, (*entry.raw, newer)))
            self._rpc.send_raw(newer)

    def _is_known(self, entry: Entry) -> bool:
        return any(
            self._rpc.send("eth_getTransactionByHash", ["0x" + each.hex()]) is not None
            for each in entry.hashes
        )

    def _put(self, index: int, entry: Entry) -> None:
        self._entries[index:] = [entry]
        steps = [
            {
                "content": "0x" + each.content.hex(),
                "nonce": each.nonce,
                "raw": ["0x" + raw.hex() for raw in each.raw],
            }
            for each in self._entries
        ]
        write_whole(self._path, json.dumps({**self._about, "transactions": steps}, indent=2) + "\n")


def _read(path: Path, about: dict[str, Any]) -> list[Entry]:
    try:
        values = json.loads(path.read_text())
        entries = [
            Entry(_bytes(step["content"]), step["nonce"], tuple(map(_bytes, step["raw"])))
            for step in values.pop("transactions")
        ]
    except FileNotFoundError:
        return []
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not a journal of transactions: {error}",
            remedy="Delete it to begin anew; what was sent so far is lost",
        ) from None
    if values != about:
        begun = values.get("account"), values.get("chain_id")
        raise ConfigError(
            f"{path} was begun by account {begun[0]} on chain {begun[1]}",
            remedy="Go on with that account and chain, or delete the file to begin anew",
        )
    return entries


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
