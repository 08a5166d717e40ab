"""Transactions of one account that a person waits for; a node has its own submitter."""

from __future__ import annotations

import time
from collections.abc import Callable

from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signer import Fees, Signed, Signer, Unsigned
from oracle.errors import AccountUnfunded, RequestTimeout, TransactionReverted

#: Seconds to wait for a block.
_TIMEOUT = 120.0


class Account:
    """Sends transactions, one at a time, and waits until each is mined.

    Args:
        rpc: endpoints of the chain.
        signer: the account that pays.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        rpc: Rpc,
        signer: Signer,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rpc = rpc
        self._signer = signer
        self._clock = clock
        self._sleep = sleep

    @property
    def address(self) -> str:
        """The account that pays."""
        return self._signer.address

    def send(self, to: str | None, data: bytes, value: int = 0) -> Receipt:
        """Send a call, or without ``to`` create a contract.

        Args:
            to: the contract called.
            data: calldata or creation code.
            value: wei sent along.

        Raises:
            AccountUnfunded: the account cannot pay; nothing was sent.
            TransactionReverted: it was mined and reverted.
            RequestTimeout: it is not mined yet.
        """
        signed = self.sign(to, data, value, self._rpc.nonce(self.address))
        self._rpc.send_raw(signed.raw)
        return self.wait(signed.hash)

    def sign(self, to: str | None, data: bytes, value: int, nonce: int) -> Signed:
        """A transaction that can be mined now, not sent yet.

        Raises:
            AccountUnfunded: the account cannot pay.
        """
        sender = self.address
        tip = self._rpc.priority_fee()
        fees = Fees(2 * self._rpc.head().base_fee + tip, tip)
        call = {"from": sender, "data": "0x" + data.hex(), "value": hex(value)}
        gas = int(
            self._rpc.send("eth_estimateGas", [call if to is None else {**call, "to": to}]), 16
        )
        gas += gas // 5
        balance, price = self._rpc.balance(sender), value + gas * fees.max_fee
        if balance < price:
            raise AccountUnfunded(
                f"{sender} has {balance} wei, the transaction may cost {price} wei",
                remedy="Fund the account",
            )
        return self._signer.sign(
            Unsigned(
                chain_id=self._rpc.chain_id,
                nonce=nonce,
                to=to,
                data=data,
                gas=gas,
                fees=fees,
                value=value,
            )
        )

    def wait(self, *hashes: bytes) -> Receipt:
        """The receipt of the one of these transactions that is mined; they have the same nonce.

        Raises:
            TransactionReverted: it was mined and reverted.
            RequestTimeout: none is mined yet.
        """
        deadline = self._clock() + _TIMEOUT
        while not (mined := [r for each in hashes if (r := self._rpc.receipt(each))]):
            if self._clock() >= deadline:
                raise RequestTimeout(f"transaction 0x{hashes[-1].hex()} is not mined yet")
            self._sleep(0.05)
        (receipt,) = mined
        if not receipt.succeeded:
            raise TransactionReverted(f"transaction 0x{receipt.transaction_hash.hex()} reverted")
        return receipt
