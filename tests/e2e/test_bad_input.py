"""Bad input gets one line that says what to do, an exit code, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from web3.exceptions import ContractCustomError

from oracle.devnet import CHAIN_ID, fund_new_key
from tests.patience import PATIENCE

from .conftest import Place


def oracle(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "oracle", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line, after checking that it is one and that nothing else was said."""
    assert done.returncode not in (0, 1), (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("✗")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def build(model: Path, samples: np.ndarray, tmp_path: Path) -> str:
    np.save(tmp_path / "samples.npy", samples)
    out = tmp_path / "bundle"
    line = refusal(
        oracle(
            *("model", "build", model, "--samples", tmp_path / "samples.npy"),
            *("--out", out, "--srs", tmp_path),
        )
    )
    assert not out.exists()
    return line


def test_model_build__malformed_file__says_so(tmp_path: Path) -> None:
    model = tmp_path / "noise.onnx"
    model.write_bytes(np.random.default_rng(1).bytes(4096))
    assert build(model, np.zeros((8, 4)), tmp_path).startswith("MODEL_MALFORMED: ")


def test_model_build__unsupported_operator__is_named_with_its_node(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"], name="strange")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    model = tmp_path / "determinant.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), model)
    line = build(model, np.zeros((8, 4)), tmp_path)
    assert line.startswith("MODEL_UNSUPPORTED: ")
    assert "Det" in line
    assert "strange" in line


def test_model_build__samples_of_the_wrong_width__says_both_lengths(
    tmp_path: Path, iris_onnx: Path
) -> None:
    line = build(iris_onnx, np.zeros((8, 5)), tmp_path)
    assert line.startswith("TENSOR_LENGTH: ")
    assert "5" in line
    assert "4" in line


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ("5.1,3.5,1.4", "TENSOR_LENGTH"),
        ("5.1,3.5,1.4,1e6", "TENSOR_RANGE"),
        ("5.1,3.5,1.4,1e300", "TENSOR_RANGE"),
        ("5.1,3.5,1.4,nan", "TENSOR_RANGE"),
        ("5.1;3.5", "TENSOR_ENCODING"),
    ],
)
def test_request__bad_input__is_refused_before_money_moves(
    place: Place, values: str, code: str
) -> None:
    key = place.folder / "caller.key"
    account = fund_new_key(place.anvil.w3, key, 10**18)
    done = oracle(
        *("request", "--rpc", place.anvil.url, "--chain-id", CHAIN_ID),
        *("--oracle", place.deployed.oracle.address, "--key-file", key, "--", values),
    )
    assert refusal(done).startswith(f"{code}: ")
    assert place.anvil.w3.eth.get_balance(account) == 10**18


def test_request__element_beyond_its_own_range__is_refused_and_the_rest_answered(
    ranged_place: Place,
) -> None:
    """By the command, and by the contract where a caller does not ask the command."""
    place, key = ranged_place, ranged_place.folder / "caller.key"
    account = fund_new_key(place.anvil.w3, key, 10**18)

    def request(values: str) -> subprocess.CompletedProcess[str]:
        return oracle(
            *("request", "--rpc", place.anvil.url, "--chain-id", CHAIN_ID),
            *("--oracle", place.deployed.oracle.address, "--key-file", key, "--", values),
        )

    # Within the row's range, for the first three elements reach further.
    line = refusal(request("5.1,3.5,1.4,3.5"))
    assert line.startswith("TENSOR_RANGE: value 3 is 3.5, outside [0.0, 3.0]")
    assert place.anvil.w3.eth.get_balance(account) == 10**18
    with pytest.raises(ContractCustomError):
        place.ask(5.1, 3.5, 1.4, 3.5)
    place.start_node()
    done = request("5.1,3.5,1.4,3")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split(",")) == 3


@pytest.mark.parametrize(
    "change",
    [("--oracle", "hello"), ("--rpc", "hello"), ("--chain-id", "1")],
    ids=["address", "endpoint", "chain"],
)
def test_request__wrong_option__is_one_line(place: Place, change: tuple[str, str]) -> None:
    key = place.folder / "caller.key"
    fund_new_key(place.anvil.w3, key, 10**18)
    options = {
        "--rpc": place.anvil.url,
        "--chain-id": CHAIN_ID,
        "--oracle": place.deployed.oracle.address,
        "--key-file": key,
    } | dict([change])
    done = oracle("request", "1,2,3,4", *(word for pair in options.items() for word in pair))
    assert refusal(done).split(":")[0] in {"USAGE", "WRONG_CHAIN"}


def test_demo__folder_exists__is_one_line(tmp_path: Path) -> None:
    assert refusal(oracle("demo", "--keep", tmp_path)).startswith("USAGE: ")


def test_model_build__empty_samples__is_one_line(tmp_path: Path, iris_onnx: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    done = oracle(
        *("model", "build", iris_onnx, "--samples", empty),
        *("--out", tmp_path / "b", "--srs", tmp_path),
    )
    assert refusal(done).startswith("USAGE: ")


def test_request__answered__prints_the_answer(place: Place) -> None:
    key = place.folder / "caller.key"
    fund_new_key(place.anvil.w3, key, 10**18)
    place.start_node()
    done = oracle(
        *("request", "5.1,3.5,1.4,0.2", "--rpc", place.anvil.url, "--chain-id", CHAIN_ID),
        *("--oracle", place.deployed.oracle.address, "--key-file", key),
    )
    assert done.returncode == 0, done.stderr
    scores = [float(value) for value in done.stdout.split(",")]
    assert len(scores) == 3
    assert max(scores) == scores[0]


def test_node__unreachable_rpc__says_which(
    place: Place, edit_config: Callable[[str, str], None]
) -> None:
    edit_config(place.anvil.url, "http://127.0.0.1:1")
    line = refusal(oracle("node", "run", "--config", place.config))
    assert line.startswith("RPC_UNREACHABLE: ")
    assert "127.0.0.1:1" in line


def test_node__wrong_chain__names_both(
    place: Place, edit_config: Callable[[str, str], None]
) -> None:
    edit_config(f"chain_id = {CHAIN_ID}", "chain_id = 1")
    line = refusal(oracle("node", "run", "--config", place.config))
    assert line.startswith("WRONG_CHAIN: ")
    assert str(CHAIN_ID) in line


def test_node__unfunded_key__says_how_much_is_needed(place: Place) -> None:
    (place.folder / "node.key").write_text("0x" + "42" * 32)
    line = refusal(oracle("node", "run", "--config", place.config))
    assert line.startswith("ACCOUNT_UNFUNDED: ")


def test_node__broken_configuration__names_the_field(place: Place) -> None:
    place.config.write_text(place.config.read_text().replace("poll_seconds", "pol_seconds"))
    line = refusal(oracle("node", "run", "--config", place.config))
    assert line.startswith("CONFIG: ")
    assert "pol_seconds" in line


@pytest.mark.parametrize("where", [">/dev/full", ">&-"], ids=["full", "closed"])
@pytest.mark.parametrize("words", ["--version", "node --help", "doctor --json"])
def test_output__cannot_be_written__is_one_line(where: str, words: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m oracle {words} {where}', sys.executable],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert "the output cannot be written" in refusal(done)
