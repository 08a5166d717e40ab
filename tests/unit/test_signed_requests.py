"""The JSON of a signed request, which comes from strangers."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from oracle.chain.signed_requests import MOST, Envelope, SignedRequest, read, written
from oracle.errors import SignedRequestError, SignedRequestMalformed

ACCOUNT = to_checksum_address("0x" + "ab" * 20)
GOOD = Envelope(
    chain_id=31337,
    oracle=to_checksum_address("0x" + "cd" * 20),
    request=SignedRequest(
        account=ACCOUNT,
        model_id=1,
        input_hash=b"\1" * 32,
        callback_contract="0x" + "00" * 20,
        callback_gas=0,
        callback_data_hash=b"\2" * 32,
        refund_to=ACCOUNT,
        deadline=1_800_000_000,
        max_cost=10**17,
        relayer_tip=77,
        nonce=(1 << 256) - 1,
        valid_until=1_800_000_000,
    ),
    input=b"\0\1",
    callback_data=b"",
    signature=b"\7" * 65,
)


def changed(path: str, value: Any) -> str:
    """The good text with one member replaced, or taken away with `...`."""
    whole = json.loads(written(GOOD))
    *above, name = path.split(".")
    place = whole
    for each in above:
        place = place[each]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return json.dumps(whole)


def test_read__what_was_written__is_the_same() -> None:
    assert read(written(GOOD)) == GOOD


def test_read__numbers_of_json__are_numbers_too() -> None:
    text = changed("request.relayerTip", 78)
    assert read(text).request == replace(GOOD.request, relayer_tip=78)
    assert read(changed("request.nonce", (1 << 256) - 1)) == GOOD


def test_read__addresses_without_capitals__are_read() -> None:
    assert read(changed("request.account", ACCOUNT.lower())) == GOOD


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("nul", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("null", "is not an object"),
        ("[]", "is not an object"),
        ('"text"', "is not an object"),
        ("{}", "has no callbackData"),
        (" " * (MOST + 1), "more than"),
        (changed("chainId", ...), "has no chainId"),
        (changed("request", ...), "has no request"),
        (changed("request", []), "request is not an object"),
        (changed("request.nonce", ...), "request has no nonce"),
        (changed("request.gas", "1"), "request has a member 'gas'"),
        (changed("to", ACCOUNT), "has a member 'to'"),
        (changed("chainId", "-1"), "chainId is not a whole number of 256 bits"),
        (changed("chainId", True), "chainId is not a whole number"),
        (changed("chainId", None), "chainId is not a whole number"),
        (changed("chainId", {"a": 1}), "chainId is not a whole number"),
        (changed("chainId", 1.5), "is not a whole number"),
        (changed("chainId", float("nan")), "chainId is not a whole number"),
        (changed("chainId", 1e3), "is not a whole number"),
        (changed("chainId", "0x1"), "chainId is not a whole number"),
        (changed("chainId", " 1"), "chainId is not a whole number"),
        (changed("chainId", "1_0"), "chainId is not a whole number"),
        (changed("chainId", "\u0661"), "chainId is not a whole number"),
        (changed("chainId", ""), "chainId is not a whole number"),
        (changed("chainId", "9" * 100_000), "chainId is not a whole number"),
        (written(GOOD).replace('"31337"', "9" * 100_000), "chainId is not a whole number"),
        (changed("request.nonce", str(1 << 256)), "nonce is not a whole number of 256 bits"),
        (changed("request.deadline", str(1 << 64)), "deadline is not a whole number of 64 bits"),
        (changed("request.maxCost", str(1 << 96)), "maxCost is not a whole number of 96 bits"),
        (changed("oracle", ACCOUNT.swapcase().replace("0X", "0x")), "oracle is not an address"),
        (changed("oracle", ACCOUNT[2:]), "oracle is not an address"),
        (changed("oracle", ACCOUNT[:-1]), "oracle is not an address"),
        (changed("oracle", 5), "oracle is not an address"),
        (changed("request.account", "vitalik.eth"), "account is not an address"),
        (changed("request.inputHash", "0x00"), "inputHash is not 32 bytes, but 1"),
        (changed("input", "0x0"), "input is not bytes in hex"),
        (changed("input", "0x0 "), "input is not bytes in hex"),
        (changed("input", "0x0 0 1"), "input is not bytes in hex"),
        (changed("input", "0001"), "input is not bytes in hex"),
        (changed("input", "0xgg"), "input is not bytes in hex"),
        (changed("signature", None), "signature is not bytes in hex"),
        (changed("signature", ["0x00"]), "signature is not bytes in hex"),
        (written(GOOD).replace("{", '{"chainId": "1", ', 1), "stands twice"),
        (written(GOOD).replace('"nonce"', '"nonce": "1", "nonce"'), "stands twice"),
    ],
)
def test_read__anything_else__is_refused_in_one_short_line(text: str, words: str) -> None:
    with pytest.raises(SignedRequestMalformed) as caught:
        read(text)
    line = caught.value.line()
    assert words in line
    assert "\n" not in line
    assert len(line) < 300
    assert line.isprintable()


def test_read__a_terminals_escapes__are_not_repeated() -> None:
    with pytest.raises(SignedRequestMalformed) as caught:
        read(changed("oracle", "\x1b[2J\x07\n"))
    assert caught.value.line().isprintable()


@given(st.integers(0, 1 << 64), st.integers(1, 40))
def test_read__a_damaged_text__is_read_or_refused(seed: int, many: int) -> None:
    """Whatever a stranger does to the text, it is a signed request or an error of the tree."""
    chosen, text = random.Random(seed), list(written(GOOD))
    for _ in range(many):
        place = chosen.randrange(len(text))
        text[place : place + chosen.randrange(3)] = chosen.choice(
            ['"', "{", "0", "", "x", "\\", "é"]
        )
    try:
        read("".join(text))
    except SignedRequestError:
        return
