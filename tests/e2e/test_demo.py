"""The main job, run as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from oracle.circuits.bundle import Bundle


@pytest.fixture(scope="module")
def output(iris_bundle: Bundle) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "oracle", "demo", "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "stdout carries one JSON object and nothing else"
    return json.loads(done.stdout)


def test_demo__stored_answer__is_the_models_within_the_bundles_error(output, iris_bundle) -> None:
    pairs = zip(output["prediction_reference"], output["output_onchain"], strict=True)
    worst = max(abs(reference - onchain) for reference, onchain in pairs)
    assert output["max_abs_error"] == pytest.approx(worst)
    assert 0 < worst < 0.1
    assert output["label_onchain"] == output["label_reference"]


def test_demo__every_attack__was_rejected(output) -> None:
    assert output["tamper"] == {
        "flipped_proof_byte": True,
        "another_output": True,
        "another_input": True,
        "another_request": True,
        "another_payee": True,
        "replay": True,
        "handmade_calldata": True,
    }


def test_demo__figures__fit_each_other(output, iris_bundle) -> None:
    assert output["callback_gas"] > 20_000
    assert output["verify_gas"] > 250_000  # a pairing and its scalar multiplications
    assert output["verify_gas"] <= iris_bundle.spec.verify_gas
    assert output["fulfil_gas"] > output["verify_gas"] + output["callback_gas"]
    assert 21_000 < output["request_gas"] < output["fulfil_gas"]
    assert 0 < output["prove_seconds"] < output["latency_seconds"] < output["total_seconds"]
    assert output["node_overhead_seconds"] == pytest.approx(
        output["latency_seconds"] - output["prove_seconds"]
    )


def test_demo__versions__name_the_compilers_and_the_prover(output) -> None:
    assert {"ezkl", "onnxruntime", "solc", "solc_contracts", "web3"} <= set(output["versions"])
