"""Log lines never hold a secret."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.log import make_logger, request_fields, request_hex

KEY = "8f" * 32


def line(*, as_json: bool = True, **fields: object) -> str:
    stream = io.StringIO()
    make_logger(stream, json=as_json).info("event", **fields)
    return stream.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    "fields",
    [
        {"detail": f"cannot use {KEY}"},
        {"detail": f"cannot use 0x{KEY}"},
        {"account": bytes.fromhex(KEY)},
        {"password": KEY[:10]},
        {"private_key": "short"},
        {"detail": "https://user:hunter2@host/v3/APIKEY?token=T0KEN"},
        {"detail": ValueError(f"bad key {KEY}")},
    ],
)
def test_line__secret_in_any_field__is_masked(fields: dict[str, object], as_json: bool) -> None:
    text = line(as_json=as_json, **fields)
    for secret in (KEY, KEY[:10], "short", "hunter2", "APIKEY", "T0KEN"):
        assert secret not in text


def test_line__exception_text__is_masked() -> None:
    stream = io.StringIO()
    log = make_logger(stream, json=True)
    try:
        raise ValueError(f"bad key 0x{KEY}")
    except ValueError:
        log.exception("crashed")
    text = stream.getvalue()
    assert KEY not in text
    assert "ValueError" in text


@given(st.binary(min_size=32, max_size=32), st.text(alphabet=" :,'\"()=", max_size=3))
def test_line__any_key__is_masked_whatever_stands_beside_it(key: bytes, beside: str) -> None:
    assert key.hex() not in line(detail=f"a{beside or ' '}{key.hex()}{beside}")


def test_line__transaction_and_request__are_whole_in_json() -> None:
    written = json.loads(line(tx=bytes.fromhex(KEY), request=request_hex(7)))
    assert written["tx"] == "0x" + KEY
    assert written["request"] == "0x" + "0" * 63 + "7"


def test_line__text__shows_the_first_digits_of_a_request() -> None:
    text = line(as_json=False, request="0x" + "12345678" * 8)
    assert "request=12345678\n" in text
    assert "1234567812" not in text


def test_line__requests_of_a_batch__are_whole_in_json_and_short_in_text() -> None:
    fields = request_fields([0x12345678 << 224, 7])
    first, second = json.loads(line(**fields))["requests"].split()
    assert (int(first, 16), int(second, 16)) == (0x12345678 << 224, 7)
    assert "requests='12345678 00000000'\n" in line(as_json=False, **fields)


def test_line__endpoint__keeps_its_host() -> None:
    assert "http://127.0.0.1:8545" in line(detail="no answer from http://127.0.0.1:8545 (Timeout)")
