"""The JavaScript helper's numbers and bytes: held by the shared vectors and by the Python twin."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from oracle import tensor
from oracle.config import project_root
from oracle.errors import OracleError
from oracle.types import Codec, TensorSpec
from tests.js.project import call

VECTORS = json.loads((project_root() / "tests" / "vectors" / "codec.json").read_text())
CODES = {
    "character": "TENSOR_ENCODING",
    "digits": "TENSOR_ENCODING",
    "count": "TENSOR_LENGTH",
    "range": "TENSOR_RANGE",
}
WIDE = 1 << 250
#: What the Python twin takes as text, and JavaScript as one of its two kinds of number.
Shape = dict[str, Any]


def integer(value: int | str) -> dict[str, str]:
    return {"n": str(value)}


def shape(spec: TensorSpec) -> Shape:
    return {
        "elements": spec.length,
        "width": spec.width,
        "scale": spec.scale,
        "minimum": integer(spec.minimum),
        "maximum": integer(spec.maximum),
    }


def text_spec(case: dict[str, Any]) -> TensorSpec:
    least, most = int(case.get("minimum", -WIDE)), int(case.get("maximum", WIDE))
    return TensorSpec(case["length"], 32, case["scale"], least, most)


@pytest.fixture(params=["import", "require"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_vectors__packed__both_ways(workshop: Path, kind: str) -> None:
    cases = VECTORS["tensors"]
    packs = [["pack", [*map(integer, c["integers"])], c["width"]] for c in cases]
    unpacks = [["unpack", "0x" + c["packed"], c["width"]] for c in cases]
    said = call(workshop, kind, packs + unpacks)
    assert said[: len(cases)] == [{"value": "0x" + c["packed"]} for c in cases]
    assert said[len(cases) :] == [{"value": c["integers"]} for c in cases]


def test_vectors__text_inputs__are_read_or_refused_for_that_reason(
    workshop: Path, kind: str
) -> None:
    cases = VECTORS["text_inputs"]
    reads = [
        ["read", "0x" + c["text"].encode("latin-1").hex(), shape(text_spec(c)), {"codec": 1}]
        for c in cases
    ]
    said = call(workshop, kind, reads)
    checked = [c for c in cases if "minimum" in c]
    values = [answer.get("value") for c, answer in zip(cases, said, strict=True) if c in checked]
    checks = call(
        workshop,
        kind,
        [
            ["check", [*map(integer, found)], shape(text_spec(c))]
            for c, found in zip(checked, values, strict=True)
        ],
    )
    verdicts = dict(zip((c["name"] for c in checked), checks, strict=True))
    refused = 0
    for case, answer in zip(cases, said, strict=True):
        wanted = case.get("error")
        if wanted is None:
            assert answer == {"value": case["integers"]}, case["name"]
            assert "error" not in verdicts.get(case["name"], {}), case["name"]
            continue
        error = (verdicts[case["name"]] if wanted == "range" else answer)["error"]
        assert error["code"] == CODES[wanted], case["name"]
        assert error.get("position") == case.get("position"), case["name"]
        if wanted == "range":
            assert (error["index"], error["value"]) == (case["index"], case["value"])
        refused += 1
    assert refused > 30


def test_vectors__text_outputs__are_written_and_decoded(workshop: Path, kind: str) -> None:
    cases = VECTORS["text_outputs"]
    writes = [
        ["write", [*map(integer, c["integers"])], {"width": 1, "scale": c["scale"]}, {"codec": 1}]
        for c in cases
    ]
    for case, answer in zip(cases, call(workshop, kind, writes), strict=True):
        assert answer == {"value": "0x" + case["text"].encode().hex()}, case["name"]
    some = [c for c in cases if c["integers"]]
    specs = [TensorSpec(len(c["integers"]), 32, c["scale"], -WIDE, WIDE) for c in some]
    decodes = [
        ["decode", "0x" + c["text"].encode().hex(), shape(s), {"codec": 1}]
        for c, s in zip(some, specs, strict=True)
    ]
    for case, spec, answer in zip(some, specs, call(workshop, kind, decodes), strict=True):
        twin = tensor.decode(case["text"].encode(), spec, Codec.TEXT)
        assert answer["value"] == pytest.approx(list(twin), rel=0, abs=0), case["name"]


def edge_values(chosen: random.Random, spec: TensorSpec) -> list[float]:
    """Numbers at ties, at the range's ends, beyond them, and anywhere."""
    step = math.ldexp(1, -spec.scale)
    some = []
    for _ in range(spec.length):
        whole = chosen.randint(spec.minimum - 1, spec.maximum + 1)
        nudge = chosen.choice([0, 0.5, -0.5, 0.25, math.nextafter(0.5, 0), math.nextafter(0.5, 1)])
        some.append((whole + nudge) * step if chosen.random() < 0.9 else chosen.uniform(-1, 1))
    if chosen.random() < 0.05:
        some[-1] = chosen.choice([math.inf, -math.inf, math.nan, 1e308, 5e-324, -0.0])
    if chosen.random() < 0.05:
        some.append(0.0)
    return some


@pytest.mark.parametrize("codec", list(Codec))
def test_encode_and_decode__random_shapes_and_values__as_the_python_twin(
    workshop: Path, kind: str, codec: Codec
) -> None:
    chosen = random.Random(f"{kind} {codec}")
    calls: list[list[Any]] = []
    wanted: list[tuple[str, Any]] = []
    for _ in range(400):
        width, scale = chosen.randint(1, 7), chosen.randint(0, 30)
        least, most = sorted(
            chosen.randint(-(1 << 8 * width - 1), (1 << 8 * width - 1) - 1) for _ in "ab"
        )
        spec = TensorSpec(chosen.randint(1, 5), width, scale, least, most)
        values = edge_values(chosen, spec)
        given = [
            v
            if math.isfinite(v)
            else {"float": {"inf": "Infinity", "-inf": "-Infinity"}.get(str(v), "NaN")}
            for v in values
        ]
        calls.append(["encode", given, shape(spec), {"codec": int(codec)}])
        try:
            data = tensor.encode(values, spec, codec)
        except OracleError as error:
            wanted.append(("error", error.code))
            continue
        wanted.append(("value", "0x" + data.hex()))
        integers = [chosen.randint(least, most) for _ in range(spec.length)]
        result = tensor.write(integers, spec, codec)
        calls.append(["decode", "0x" + result.hex(), shape(spec), {"codec": int(codec)}])
        wanted.append(("value", list(tensor.decode(result, spec, codec))))
    said = call(workshop, kind, calls)
    kinds = set()
    for asked, (what, expected), answer in zip(calls, wanted, said, strict=True):
        found = answer[what]["code"] if what == "error" else answer.get(what)
        assert found == expected, (asked, answer)
        kinds.add(expected if what == "error" else asked[0])
    assert kinds == {"encode", "decode", "TENSOR_RANGE", "TENSOR_LENGTH"}


ROW = TensorSpec(2, 2, 8, -2000, 2000)
WHOLE = TensorSpec(2, 2, 0, -20, 20)


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (["encode", [1], shape(ROW)], "TENSOR_LENGTH", "rows have 2 values, got 1"),
        (["encode", [1, 8], shape(ROW)], "TENSOR_RANGE", "value 1 is 8, outside [-7.8125, 7.8125]"),
        (["encode", [1, 1.5], shape(WHOLE)], "TENSOR_RANGE", "value 1 is 1.5, and the model takes"),
        (["encode", [1, "8"], shape(ROW)], "TENSOR_ENCODING", 'the string "8" is not a number'),
        (["encode", [1, None], shape(ROW)], "TENSOR_ENCODING", "null is not a number"),
        (["encode", [1, 2], shape(ROW), {"codec": 2}], "USAGE", "no codec 2"),
        (["encode", [1, 2], shape(ROW), {"ranges": [[0, 1]]}], "USAGE", "1 ranges for 2"),
        (
            ["encode", [1, 2], shape(ROW), {"ranges": [[0, 256], [0, 511]]}],
            "TENSOR_RANGE",
            "value 1 is 2, outside [0, 1.99609375]",
        ),
        (["encode", None, shape(ROW)], "TENSOR_ENCODING", "null is no row of numbers"),
        (["encode", "12", shape(ROW)], "TENSOR_ENCODING", '"12" is no row of numbers'),
        (["encodeRows", [], shape(ROW)], "TENSOR_LENGTH", "got 0"),
        (["encodeRows", [1, 2], shape(ROW)], "TENSOR_ENCODING", "1 is no row of numbers"),
        (["encodeRows", 7, shape(ROW)], "TENSOR_ENCODING", "7 is no row of numbers"),
        (["decode", None, shape(ROW)], "TENSOR_ENCODING", "no bytes in hex"),
        (["decode", [0, 1, 0, 2], shape(ROW)], "TENSOR_ENCODING", "no bytes in hex"),
        (["decodeRows", 5, shape(ROW)], "TENSOR_ENCODING", "no bytes in hex"),
        (["decode", "0x", shape(ROW)], "TENSOR_LENGTH", "got 0"),
        (["decode", "0x0001", shape(ROW)], "TENSOR_LENGTH", "got 1"),
        (["decode", "0x000102", shape(ROW)], "TENSOR_LENGTH", "3 bytes are no elements of 2"),
        (["decode", "0x" + "0001" * 4, shape(ROW)], "TENSOR_LENGTH", "got 4"),
        (["decodeRows", "0x" + "0001" * 3, shape(ROW)], "TENSOR_LENGTH", "got 3"),
        (["decode", "0x001", shape(ROW)], "TENSOR_ENCODING", "no bytes in hex"),
        (["decode", "0x00gg0000", shape(ROW)], "TENSOR_ENCODING", "no bytes in hex"),
        (["decode", "00010002", shape(ROW)], "TENSOR_ENCODING", "no bytes in hex"),
        (["pack", [1.5], 2], "TENSOR_ENCODING", "1.5 is not a whole number"),
        (["pack", [2**53], 8], "TENSOR_ENCODING", "is not a whole number that is exact"),
        (["pack", [128], 1], "TENSOR_RANGE", "128 does not fit 1 bytes"),
        (["pack", [-129], 1], "TENSOR_RANGE", "-129 does not fit 1 bytes"),
        (["pack", [1], 0], "USAGE", "1 to 32 bytes"),
        (["pack", [1], 33], "USAGE", "1 to 32 bytes"),
    ],
)
def test_helper__wrong_arguments__say_what_is_wrong(
    workshop: Path, asked: list[Any], code: str, words: str
) -> None:
    (answer,) = call(workshop, "import", [asked])
    assert answer.get("error", {}).get("code") == code, answer
    assert words in answer["error"]["message"]


def test_helper__rows__as_the_contract_has_them(workshop: Path, kind: str) -> None:
    rows = [[1, -2], [0.5, 7.8125]]
    packed, text, numbers, bigints = call(
        workshop,
        kind,
        [
            ["encodeRows", rows, shape(ROW)],
            ["encodeRows", rows, shape(ROW), {"codec": 1}],
            ["decodeRows", "0x0100fe00008007d0", shape(ROW)],
            ["encode", [integer(1), integer(-2)], shape(ROW)],
        ],
    )
    assert packed["value"] == "0x0100fe00008007d0"
    assert bytes.fromhex(text["value"][2:]) == b"1,-2,0.5,7.813"
    assert numbers["value"] == rows
    assert bigints["value"] == "0x0100fe00"
