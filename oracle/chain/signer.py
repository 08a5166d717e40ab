"""The node's key: it signs, and shows nothing but its address."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from eth_account import Account
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount

from oracle.errors import ConfigError
from oracle.private import read_private

_REMEDY = "Set key_file, or keystore and password_file, to files that this user may read"


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 prices in wei per gas."""

    max_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class Unsigned:
    """An EIP-1559 transaction before it is signed."""

    chain_id: int
    nonce: int
    #: None creates a contract.
    to: str | None
    data: bytes
    gas: int
    fees: Fees
    #: Wei sent along.
    value: int = 0


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction that can be broadcast."""

    raw: bytes
    hash: bytes


class Signer(Protocol):
    """Whoever can sign for one account: a local key, a remote signer, a hardware module."""

    @property
    def address(self) -> str:
        """The account, as a checksum address."""
        ...

    def sign(self, transaction: Unsigned) -> Signed:
        """Sign; the same transaction gives the same bytes."""
        ...


class LocalSigner:
    """A key in this process's memory."""

    __slots__ = ("_account",)

    def __init__(self, account: LocalAccount) -> None:
        self._account = account

    @classmethod
    def from_key_file(cls, path: Path) -> LocalSigner:
        """A key from a file that holds 32 bytes in hex and that only its owner can read.

        Raises:
            ConfigError: unreadable, open to others, or not a key.
        """
        text = read_private(path, _REMEDY)
        try:
            account = Account.from_key(bytes.fromhex(text.strip().removeprefix("0x")))
        except ValueError:
            # The library's message may quote the key.
            raise ConfigError(
                f"{path} does not hold a private key", remedy="Put 64 hex digits in it"
            ) from None
        return cls(account)

    @classmethod
    def from_keystore(cls, path: Path, password_file: Path) -> LocalSigner:
        """A key from an encrypted keystore file (Web3 secret storage).

        Raises:
            ConfigError: unreadable, open to others, damaged, or the password is wrong.
        """
        password = read_private(password_file, _REMEDY).rstrip("\r\n")
        try:
            key = Account.decrypt(json.loads(read_private(path, _REMEDY)), password)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError(
                f"{path} could not be decrypted",
                remedy=f"Check the keystore and the password in {password_file}",
            ) from None
        return cls(Account.from_key(key))

    @property
    def address(self) -> str:
        """The account, as a checksum address."""
        return str(self._account.address)

    def sign(self, transaction: Unsigned) -> Signed:
        """Sign (RFC 6979: deterministic)."""
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": transaction.chain_id,
            "nonce": transaction.nonce,
            "to": transaction.to or b"",
            "value": transaction.value,
            "data": transaction.data,
            "gas": transaction.gas,
            "maxFeePerGas": transaction.fees.max_fee,
            "maxPriorityFeePerGas": transaction.fees.priority_fee,
        }
        signed = self._account.sign_transaction(fields)
        return Signed(raw=bytes(signed.raw_transaction), hash=bytes(signed.hash))

    def sign_message(self, message: SignableMessage) -> bytes:
        """65 bytes of signature for typed data, which is no transaction."""
        return bytes(self._account.sign_message(message).signature)

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer does not leave its process")
