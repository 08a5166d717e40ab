"""A remote signer: what it signs is checked here, and nothing but this node's bytes is sent."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from eth_account import Account
from eth_keys import keys
from eth_utils.crypto import keccak

from oracle.chain.remote import RemoteSigner
from oracle.chain.signer import Fees, LocalSigner, Unsigned
from oracle.errors import SignerRefused, SignerUnreachable

KEY = keys.PrivateKey(b"\x11" * 32)
OTHER = keys.PrivateKey(b"\x22" * 32)
ADDRESS = KEY.public_key.to_checksum_address()
UNSIGNED = Unsigned(31337, 5, ADDRESS, b"\x01\x02", 21_000, Fees(10**10, 10**9), value=7)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Signer:
    """A double of Web3Signer's eth1 API on a real socket."""

    def __init__(self) -> None:
        self.held = [KEY]
        self.signs_with = KEY
        self.status = 200
        self.asked: list[tuple[str, Any]] = []
        self.tampers = lambda data: data
        self.answers = lambda signature: "0x" + signature.hex()
        signer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listed = [key.public_key.to_hex() for key in signer.held]
                self.answer(json.dumps(listed), "application/json")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                signer.asked.append((self.path, body))
                data = signer.tampers(bytes.fromhex(body["data"][2:]))
                made = signer.signs_with.sign_msg_hash(keccak(data))
                signature = made.r.to_bytes(32, "big") + made.s.to_bytes(32, "big")
                self.answer(signer.answers(signature + bytes([made.v + 27])), "text/plain")

            def answer(self, text: str, kind: str) -> None:
                self.send_response(signer.status)
                self.send_header("Content-Type", kind)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Not on the tests' output."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://user:s3cret@127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()


@pytest.fixture
def remote() -> Iterator[Signer]:
    signer = Signer()
    yield signer
    signer.server.shutdown()
    signer.server.server_close()


def test_sign__transaction__is_to_the_byte_what_a_local_key_makes(remote: Signer) -> None:
    signed = RemoteSigner(remote.url, ADDRESS).sign(UNSIGNED)
    local = LocalSigner(Account.from_key(KEY.to_bytes()))
    assert signed == local.sign(UNSIGNED)
    assert remote.asked[0][0] == f"/api/v1/eth1/sign/{KEY.public_key.to_hex()}"


def test_sign__transaction_that_creates_a_contract__is_the_same_too(remote: Signer) -> None:
    creation = Unsigned(1, 0, None, b"\x60", 100_000, Fees(2, 1))
    local = LocalSigner(Account.from_key(KEY.to_bytes()))
    assert RemoteSigner(remote.url, ADDRESS).sign(creation) == local.sign(creation)


def test_sign__signature_without_27__is_taken(remote: Signer) -> None:
    remote.answers = lambda signature: signature[:64].hex() + bytes([signature[64] - 27]).hex()
    signed = RemoteSigner(remote.url, ADDRESS).sign(UNSIGNED)
    assert Account.recover_transaction(signed.raw) == ADDRESS


@pytest.mark.parametrize(
    "tampers",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data + b"\x00",
        lambda data: b"\x19Ethereum Signed Message:\n" + data,
        lambda _: b"something else",
    ],
)
def test_sign__signer_signs_something_else__is_refused(remote: Signer, tampers: Any) -> None:
    remote.tampers = tampers
    with pytest.raises(SignerRefused, match="did not sign this transaction"):
        RemoteSigner(remote.url, ADDRESS).sign(UNSIGNED)


def test_sign__other_key__is_refused(remote: Signer) -> None:
    remote.signs_with = OTHER
    with pytest.raises(SignerRefused, match="did not sign this transaction"):
        RemoteSigner(remote.url, ADDRESS).sign(UNSIGNED)


def twin(signature: bytes) -> str:
    """The signature's other form, which recovers the same key and which EIP-2 forbids."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return (signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])).hex()


@pytest.mark.parametrize(
    "answers",
    [
        twin,
        lambda _: "",
        lambda _: "0xzz",
        lambda signature: signature.hex()[:-2],
        lambda signature: signature[:64].hex() + "05",
        lambda _: "00" * 65,
        lambda _: "ff" * 64 + "1b",
        lambda _: "<html>",
    ],
)
def test_sign__no_usable_signature__is_refused(remote: Signer, answers: Any) -> None:
    remote.answers = answers
    with pytest.raises(SignerRefused):
        RemoteSigner(remote.url, ADDRESS).sign(UNSIGNED)


def test_connect__signer_without_the_key__names_the_field(remote: Signer) -> None:
    remote.held = [OTHER]
    with pytest.raises(SignerRefused) as caught:
        RemoteSigner(remote.url, ADDRESS).connect()
    assert "signer_account" in caught.value.line()


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, SignerRefused), (403, SignerRefused), (302, SignerRefused), (503, SignerUnreachable)],
)
def test_sign__http_error__is_told_apart(
    remote: Signer, status: int, error: type[Exception]
) -> None:
    signer = RemoteSigner(remote.url, ADDRESS)
    signer.connect()
    remote.status = status
    with pytest.raises(error):
        signer.sign(UNSIGNED)


def test_sign__signer_gone__may_pass_and_shows_no_credentials(remote: Signer) -> None:
    signer = RemoteSigner(remote.url, ADDRESS, timeout=1)
    signer.connect()
    remote.server.shutdown()
    remote.server.server_close()
    with pytest.raises(SignerUnreachable) as caught:
        signer.sign(UNSIGNED)
    assert caught.value.transient
    assert "s3cret" not in caught.value.line() + repr(signer) + str(caught.value.__cause__)
    with pytest.raises(TypeError):
        pickle.dumps(signer)
