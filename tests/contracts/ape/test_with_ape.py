"""The main path with Ape's fixtures, for contract developers who live there.

pytest -p ape.pytest.plugin tests/contracts/ape
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import ape
import pytest
from eth_utils import keccak

from oracle import tensor
from oracle.config import project_root
from tests.contracts.world import (
    FEE,
    HALO2_KZG,
    INPUT,
    NUMBERS,
    OUTPUT,
    RESULT,
    TAG,
    VALUES,
    VERIFY_GAS,
    ZERO,
    packed,
)


@pytest.fixture
def oracle(project: Any, accounts: Any) -> Any:
    registry = accounts[0].deploy(project.ModelRegistry)
    return accounts[0].deploy(project.InferenceOracle, registry, accounts[0])


@pytest.fixture
def model_id(project: Any, accounts: Any, oracle: Any) -> int:
    verifier = accounts[0].deploy(project.HashVerifier)
    registry = project.ModelRegistry.at(oracle.registry())
    registry.register(
        {
            "onnxHash": bytes(32),
            "codec": 0,
            "tagLimbs": TAG.limbs,
            "tagBits": TAG.bits,
            "inputKind": VALUES,
            "input": shape(INPUT),
            "output": shape(OUTPUT),
            "inputChecker": ZERO,
            "token": ZERO,
            "fee": FEE,
            "receiver": accounts[0],
            "receiverBps": 0,
            "transcriptHash": bytes(32),
            "contributors": 0,
            "verifiers": [
                (
                    verifier.address,
                    keccak(accounts.provider.get_code(verifier.address)),
                    VERIFY_GAS,
                    1,
                    HALO2_KZG,
                    *[bytes(32)] * 3,
                )
            ],
        },
        sender=accounts[0],
    )
    return int(registry.count())


def shape(spec: Any) -> dict[str, int]:
    return {
        "elements": spec.length,
        "width": spec.width,
        "scale": spec.scale,
        "minimum": spec.minimum,
        "maximum": spec.maximum,
    }


def fulfilment(oracle: Any, receipt: Any, node: Any) -> tuple[Any, ...]:
    """Arguments that fulfil the request in `receipt` for `node`."""
    (asked,) = receipt.events.filter(oracle.AICallbackRequest)
    (opened,) = receipt.events.filter(oracle.RequestOpened)
    limbs = tensor.tag(31337, oracle.address, [asked.requestId], node.address, TAG)
    outputs = [tensor.to_field(v) for v in RESULT]
    instances = [*map(tensor.to_field, NUMBERS), *limbs, *outputs]
    preimage = (
        asked.account,
        asked.modelId,
        asked.callbackContract,
        asked.gasLimit,
        opened.refundTo,
        opened.deadline,
        opened.fee,
        opened.gasMoney,
        opened.gasUnits,
        opened.protocolBps,
        keccak(asked.input),
        keccak(asked.callbackData),
    )
    proof = keccak(b"".join(i.to_bytes(32, "big") for i in instances))
    return (asked.requestId, preimage, asked.input, asked.callbackData, node, outputs, proof)


def test_caller__asks_and_is_called_back_with_the_proved_scores(
    project: Any, accounts: Any, oracle: Any, model_id: int
) -> None:
    caller = accounts[1].deploy(project.PredictionConsumer, oracle, model_id)
    asked = caller.predict(packed(), value=caller.fee(), sender=accounts[1])
    arguments = fulfilment(oracle, asked, accounts[2])
    oracle.fulfill(*arguments, sender=accounts[2])
    prediction = caller.prediction(arguments[0])
    assert prediction.exists
    assert tuple(prediction.scores) == RESULT
    assert oracle.creditOf(ZERO, accounts[2]) >= FEE


def test_thief__with_a_copied_proof__is_refused(
    project: Any, accounts: Any, oracle: Any, model_id: int
) -> None:
    caller = accounts[1].deploy(project.PredictionConsumer, oracle, model_id)
    asked = caller.predict(packed(), value=caller.fee(), sender=accounts[1])
    request_id, preimage, data, context, _, outputs, proof = fulfilment(oracle, asked, accounts[2])
    with ape.reverts(oracle.ProofRejected):
        oracle.fulfill(
            request_id, preimage, data, context, accounts[3], outputs, proof, sender=accounts[3]
        )


def test_template__with_ape__passes(tmp_path: Path) -> None:
    """Installed as the contract developers' page says; its commands are run in test_kit.py."""
    kit = project_root() / "contracts"
    installed = tmp_path / "node_modules" / "@verifiable-inference" / "contracts"
    shutil.copytree(kit, installed, ignore=shutil.ignore_patterns("test"))
    shutil.copytree(kit / "template", tmp_path, dirs_exist_ok=True)
    page = (project_root() / "docs" / "contract-developers.md").read_text()
    (remapping,) = re.findall(r"^\| Ape \| .*`import_remapping: \[\"([^\"]+)\"\]` \|$", page, re.M)
    assert f'- "{remapping}"' in (tmp_path / "ape-config.yaml").read_text()
    done = subprocess.run(
        ["ape", "test", "-q"],
        cwd=tmp_path,
        env=os.environ | {"APE_DATA_FOLDER": str(tmp_path / "ape")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
