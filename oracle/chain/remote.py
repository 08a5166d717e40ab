"""A key that another process holds: Web3Signer's eth1 API, or whatever speaks it.

    GET  /api/v1/eth1/publicKeys       -> ["0x<64 bytes>", ...]
    POST /api/v1/eth1/sign/<key>       {"data": "0x<bytes>"} -> 0x<r><s><v> over keccak256(data)

Invariant: the transaction is encoded here, and a signature is used only if it is this account's
over exactly these bytes. The signer can refuse; it cannot have anything else sent.

``eth_signTransaction`` is not used: it would let the signer's side encode the transaction, and
what it encoded would have to be taken apart again to be believed.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import requests
import rlp
from eth_account import Account
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from oracle.chain.bounded import BoundedSession, TooLarge, TooLong
from oracle.chain.rpc import redacted
from oracle.chain.signer import Signed, Unsigned
from oracle.errors import SignerRefused, SignerUnreachable

_REMEDY = "Check signer_url and that the signer is up and holds the account's key"
#: Of secp256k1. A signature with the larger s is another one's twin, and chains refuse it (EIP-2).
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
#: What an answer may be long (bytes).
_MAX_ANSWER = 1 << 20


class RemoteSigner:
    """A `Signer` whose key is elsewhere.

    Args:
        url: where the signer listens.
        address: the account it signs for.
        timeout: seconds for one answer.
    """

    def __init__(self, url: str, address: str, timeout: float = 10) -> None:
        self._url = url.rstrip("/")
        self._name = redacted(url)
        self._timeout = timeout
        # The answer is the signer's own: a redirect would send the request elsewhere.
        self._session = BoundedSession(timeout, _MAX_ANSWER, redirects=0)
        self.address = to_checksum_address(address)
        self._identifier = ""

    def connect(self) -> None:
        """Find the account's key at the signer.

        Raises:
            SignerUnreachable: no answer.
            SignerRefused: it does not hold the key.
        """
        try:
            keys = json.loads(self._ask("GET", "publicKeys"))
        except (ValueError, RecursionError):
            raise SignerRefused(f"{self._name} lists no keys", remedy=_REMEDY) from None
        for key in keys if isinstance(keys, list) else ():
            if _address(key) == self.address:
                self._identifier = str(key)
                return
        raise SignerRefused(
            f"{self._name} holds no key of {self.address}", remedy="Correct signer_account"
        )

    def sign(self, transaction: Unsigned) -> Signed:
        """Have a transaction signed, and check the signature.

        Raises:
            SignerUnreachable: no answer.
            SignerRefused: no signature, or not this account's over this transaction.
        """
        if not self._identifier:
            self.connect()
        fields = _fields(transaction)
        data = "0x" + _encoded(fields).hex()
        answer = self._ask("POST", f"sign/{self._identifier}", {"data": data})
        signature = self._parts(answer.decode(errors="replace"))
        raw = _encoded([*fields, *signature])
        if _sender(raw) != self.address:
            raise SignerRefused(f"{self._name} did not sign this transaction for {self.address}")
        return Signed(raw=raw, hash=keccak(raw))

    def _parts(self, text: str) -> tuple[int, int, int]:
        """A signature's parity, r and s."""
        try:
            signature = bytes.fromhex(text.strip().strip('"').removeprefix("0x"))
        except ValueError:
            signature = b""
        if len(signature) != 65:
            raise SignerRefused(f"{self._name} answered without a signature", remedy=_REMEDY)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        parity = signature[64] - 27 if signature[64] >= 27 else signature[64]
        if parity not in (0, 1) or not 0 < s <= _HALF_ORDER or not r:
            raise SignerRefused(f"{self._name} answered with a signature that no chain takes")
        return parity, r, s

    def _ask(self, method: str, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            answer = self._session.ask(method, f"{self._url}/api/v1/eth1/{path}", data, headers)
        except TooLong:
            raise SignerUnreachable(
                f"the signer {self._name} did not answer within {self._timeout:g} s", remedy=_REMEDY
            ) from None
        except TooLarge:
            raise SignerRefused(
                f"the signer {self._name} answered with more than {_MAX_ANSWER >> 20} MiB",
                remedy=_REMEDY,
            ) from None
        except (requests.RequestException, OSError) as error:
            # The cause's text holds the whole URL, credentials included.
            raise SignerUnreachable(
                f"no answer from the signer {self._name} ({type(error).__name__})", remedy=_REMEDY
            ) from None
        if answer.status >= 500:
            raise SignerUnreachable(
                f"the signer {self._name} answered HTTP {answer.status}", remedy=_REMEDY
            )
        if answer.status != 200:
            raise SignerRefused(
                f"the signer {self._name} answered HTTP {answer.status}", remedy=_REMEDY
            )
        return answer.content

    def __repr__(self) -> str:
        return f"RemoteSigner({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer does not leave its process")


def _fields(transaction: Unsigned) -> list[Any]:
    """What is signed, in the order of EIP-1559; the last is an empty access list."""
    return [
        transaction.chain_id,
        transaction.nonce,
        transaction.fees.priority_fee,
        transaction.fees.max_fee,
        transaction.gas,
        bytes.fromhex((transaction.to or "").removeprefix("0x")),
        transaction.value,
        transaction.data,
        [],
    ]


def _encoded(fields: list[Any]) -> bytes:
    return b"\x02" + bytes(rlp.encode(fields))


def _sender(raw: bytes) -> str:
    try:
        return str(Account.recover_transaction(raw))
    except (BadSignature, ValidationError):
        return ""


def _address(key: Any) -> str:
    """The account of a public key in hex; empty for anything else."""
    try:
        point = bytes.fromhex(str(key).removeprefix("0x"))
    except ValueError:
        return ""
    # Some write the prefix of an uncompressed point.
    point = point[1:] if len(point) == 65 and point[0] == 4 else point
    return str(to_checksum_address(keccak(point)[-20:])) if len(point) == 64 else ""
