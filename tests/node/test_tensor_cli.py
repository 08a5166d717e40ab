"""`oracle model show`, `encode`, `decode` and numbers as arguments, against the real contracts."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner
from web3.contract import Contract

from oracle.chain.input_ranges import creation_code
from oracle.chain.registration import registration
from oracle.chain.rpc import Rpc
from oracle.cli.main import app
from oracle.cli.numbers import numbers_of
from oracle.client import OracleClient
from oracle.devnet import CHAIN_ID, transact
from oracle.errors import TensorEncoding, TensorLength, TensorRange, UsageError
from oracle.tensor import R
from oracle.types import Codec, InputKind, ProofSystem

from .test_anvil import Devnet, devnet
from .test_client import RANGES, client, make_client, registry

__all__ = ["client", "devnet", "make_client", "registry"]  # pytest finds the fixtures here


def run(devnet: Devnet, words: str, *more: str) -> Result:
    place = ("--rpc", devnet.anvil.url, "--oracle", devnet.oracle.address)
    return CliRunner().invoke(app, [*shlex.split(words), *place, *more])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["5.1,3.5"], [5.1, 3.5]),
        (["5.1,", "3.5"], [5.1, 3.5]),
        (["[5.1, 3.5]"], [5.1, 3.5]),
        (["[5.1,", "3.5]"], [5.1, 3.5]),
        ([" -1,1"], [-1, 1]),
        ([" -1", " -.5"], [-1, -0.5]),
        (["[[1,2],[3,4]]"], [[1, 2], [3, 4]]),
        (["[[1 2]", "[3 4]]"], [[1, 2], [3, 4]]),
        (["[[1,2]]"], [[1, 2]]),
    ],
)
def test_numbers_of__as_people_and_codec_write_them(words: list[str], expected: Any) -> None:
    """contract-developers D14: negative, in brackets, with spaces."""
    np.testing.assert_array_equal(numbers_of(words), expected)


@pytest.mark.parametrize(
    "text", ["", "[]", "a", "1,,2", "1,2,", "[1,2", "1]", "[[1],[2,3]]", "[[1,2],[3,4]", "[[[1]]]"]
)
def test_numbers_of__anything_else__is_refused(text: str) -> None:
    with pytest.raises(TensorEncoding, match="not a list of numbers"):
        numbers_of([text])


@pytest.mark.parametrize(
    "values", ["-1,0.5", "-1 0.5", "[-1,0.5]", "[-1, 0.5]", "'-1, 0.5'", "-- -1,0.5"]
)
def test_encode__takes_numbers_as_they_are_written(devnet: Devnet, values: str) -> None:
    """contract-developers D14: options follow, as in every example."""
    words = f"encode --json {values}" if values.startswith("--") else f"encode {values} --json"
    place = f"--rpc {devnet.anvil.url} --oracle {devnet.oracle.address}"
    whole = words.replace("--json", f"--json {place}")
    done = CliRunner().invoke(app, shlex.split(whole))
    assert json.loads(done.stdout) == {"input": "0xffffff0000000080"}


def test_decode__gives_back_what_encode_gave(devnet: Devnet, client: OracleClient) -> None:
    """What is missing, 1: the model has the same shape on both sides."""
    rows = [[0.5, -1.25], [1, 2]]
    done = run(devnet, f"encode {json.dumps(rows).replace(' ', '')}")
    data = done.stdout.strip()
    assert bytes.fromhex(data[2:]) == client.encode(1, rows)
    assert json.loads(run(devnet, f"decode {data}", "--json").stdout) == {"output": rows}
    assert run(devnet, f"decode {data}").stdout == "0.5, -1.25\n1, 2\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("encode 1", TensorLength),
        ("encode 100,1", TensorRange),
        ("encode 1,x", TensorEncoding),
        ("encode 1,2 --model 9", UsageError),
        ("decode 0x12", TensorLength),
        ("decode 0x", TensorLength),
        ("decode 0x1", TensorEncoding),
        ("decode zz", TensorEncoding),
        ("decode 0x00 --model 9", UsageError),
        ("model show 9", UsageError),
        (f"model show {1 << 256}", UsageError),
    ],
)
def test_command__wrong_argument__is_an_error_of_the_tree(
    devnet: Devnet, words: str, error: type[UsageError]
) -> None:
    done = run(devnet, words)
    assert type(done.exception) is error


def test_request__negative_number_and_options_last__is_sent(
    devnet: Devnet, client: OracleClient, tmp_path: Path
) -> None:
    """contract-developers D14: `oracle request -1,1,1,1` said "No such option: -1"."""
    done = run(devnet, f"request -1,0.5 --key-file {tmp_path / 'caller.key'} --timeout 0", "--json")
    asked = client.why(json.loads(done.stdout)["request_id"]).request
    assert asked is not None
    assert asked.input == client.encode(1, [-1, 0.5])


def test_model_show__has_what_a_contracts_developer_needs(devnet: Devnet) -> None:
    """What is missing, 1: the shape as the mock takes it, fee, codec, verifiers, trust."""
    said = run(devnet, "model show 1").stdout
    assert "IModelRegistry.Tensor(2, 4, 8, -1000, 1000)  2 numbers from -3.90625 to" in said
    assert "codec     packed" in said
    assert "trust     none" in said
    values = json.loads(run(devnet, "model show 1", "--json").stdout)
    assert values["input"] == {
        "length": 2,
        "width": 4,
        "scale": 8,
        "minimum": -1000,
        "maximum": 1000,
    }
    model = OracleClient(Rpc([devnet.anvil.url], CHAIN_ID), devnet.oracle.address).model(1)
    assert (values["fee"], values["codec"], values["input_kind"]) == (model.fee, "packed", "values")
    assert values["trust"] == {
        "kind": "one_party",
        "transcript_hash": "0x" + "00" * 32,
        "contributors": 0,
    }
    assert {each["system"] for each in values["verifiers"]} == {"halo2_kzg"}
    assert [each["address"] for each in values["verifiers"]] == [
        model.verifier,
        *model.batch_verifiers,
    ]
    assert [each["rows"] for each in values["verifiers"]] == [1, 4]


def test_model_show__closed_with_ranges_of_its_own__says_so(
    devnet: Devnet, client: OracleClient, registry: Contract
) -> None:
    w3 = devnet.anvil.w3
    publisher = w3.eth.accounts[1]
    sent = w3.eth.send_transaction({"from": publisher, "data": creation_code(RANGES)})
    checker = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)["contractAddress"]
    plain = client.model(1)
    terms = registration(
        replace(plain.spec, input_ranges=RANGES, codec=Codec.TEXT),
        verifiers=(plain.verifier, *plain.batch_verifiers),
        fee=5,
        receiver=plain.receiver,
        receiver_bps=250,
        input_checker=str(checker),
    )
    transact(registry.functions.register(terms), publisher)
    transact(registry.functions.close(1), publisher)
    transact(registry.functions.setSuccessor(1, 2), publisher)
    assert "model     1, closed; its successor is model 2\n" in run(devnet, "model show 1").stdout
    said = run(devnet, "model show 2").stdout
    assert "codec     text" in said
    assert f"5 wei; 2.5% to {plain.receiver}" in said
    assert f"held by {checker}\n          0: -1000 to 1000 (-3.90625 to 3.90625)" in said


def test_model_show__commitment_and_a_ceremony_of_its_own__says_what_to_check(
    devnet: Devnet, client: OracleClient, registry: Contract
) -> None:
    plain, publisher = client.model(1), devnet.anvil.w3.eth.accounts[1]
    terms = registration(
        plain.spec,
        verifiers=(plain.verifier, *plain.batch_verifiers),
        fee=5,
        receiver=plain.receiver,
        receiver_bps=250,
    )
    terms |= {
        "inputKind": InputKind.COMMITMENT,
        "input": (1, 32, 0, 0, R - 1),
        "transcriptHash": b"\x7a" * 32,
        "contributors": 3,
        "verifiers": [(*row[:4], ProofSystem.GROTH16, *row[5:]) for row in terms["verifiers"]],
    }
    transact(registry.functions.register(terms), publisher)
    model_id = str(registry.functions.count().call())
    said = run(devnet, f"model show {model_id}").stdout
    assert "a commitment to its input, 1 field element\n" in said
    assert "gas, groth16, code 0x" in said
    assert "trust     a ceremony of its own, 3 contributors by its publisher's word; " in said
    assert f"SHA-256 0x{'7a' * 32}" in said
    values = json.loads(run(devnet, f"model show {model_id}", "--json").stdout)
    assert (values["input_kind"], values["input"]["maximum"]) == ("commitment", R - 1)
    assert values["trust"]["kind"] == "ceremony"
