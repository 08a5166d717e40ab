"""The scripts of docs/contract-developers.md, as printed: typed strictly, run, and answered."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from oracle.config import project_root
from tests.contracts.anvil import Devnet
from tests.contracts.world import INPUT, OUTPUT, RESULT, tensor_tuple
from tests.js.asked import KEY, next_request, url_of
from tests.js.project import attempt
from tests.patience import PATIENCE

PAGE = (project_root() / "docs" / "contract-developers.md").read_text()
STRICT = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "target": "es2022",
    "types": ["node"],
    "rootDir": ".",
}


def block(language: str, has: str) -> str:
    (found,) = [
        text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if has in text
    ]
    return found


def compiled(project: Path, name: str, source: str, **options: Any) -> str:
    """What tsc complains of; the script is written beside its source."""
    (project / name).write_text(source)
    modules = {"module": "nodenext", "moduleResolution": "nodenext"}
    settings = {"compilerOptions": STRICT | modules | options, "files": [name]}
    (project / "tsconfig.json").write_text(json.dumps(settings))
    done = attempt(project, "node_modules/.bin/tsc", "-p", ".")
    return done.stdout + done.stderr


@pytest.fixture
def mock(devnet: Devnet) -> Any:
    found = devnet.deploy("MockInferenceOracle")
    add = found.functions.addModel(tensor_tuple(INPUT), tensor_tuple(OUTPUT), 10_000)
    devnet.send(add, devnet.accounts[0])
    return found


@pytest.mark.parametrize("library", ["viem", "ethers"])
def test_page__its_script__asks_waits_and_decodes(
    workshop: Path, devnet: Devnet, mock: Any, library: str
) -> None:
    source = block("ts" if library == "viem" else "js", f"contracts/{library}")
    if library == "viem":
        assert compiled(workshop, "ask.mts", source) == ""
    else:
        (workshop / "ask.mjs").write_text(source)
    known = devnet.w3.eth.block_number
    environment = {"KEY": KEY, "ORACLE": mock.address, "RPC": url_of(devnet)}
    asking = subprocess.Popen(
        ["env", *(f"{name}={value}" for name, value in environment.items()), "node", "ask.mjs"],
        cwd=workshop,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        next_request(devnet, mock, known)
        request_id = mock.functions.lastRequestId().call()
        devnet.send(mock.functions.answer(request_id, [*RESULT]), devnet.accounts[2])
        said, _ = asking.communicate(timeout=PATIENCE)
    finally:
        asking.kill()
        asking.wait()
    asked, answered = said.splitlines()
    assert asked == f"asked {request_id}"
    assert answered.startswith(f"answered by {devnet.accounts[2]}: ")
    scores = [float(text) for text in answered.split(": ")[1].split(", ")]
    assert scores == [value / 2**OUTPUT.scale for value in RESULT]


READ = """
import { createPublicClient, http, type Address } from "viem";
const client = createPublicClient({ transport: http() });
declare const registry: Address;
"""


@pytest.mark.parametrize("resolution", ["nodenext", "bundler"])
def test_page__a_read_with_the_typed_abi__knows_every_type(workshop: Path, resolution: str) -> None:
    """What is missing, 2: with an ABI of JSON the result is unknown under strict."""
    module = {"module": "nodenext" if resolution == "nodenext" else "preserve"}
    options = {**module, "moduleResolution": resolution, "noEmit": True}
    printed = READ + block("ts", "modelRegistryAbi")
    held = "const exactly: number = bytes;\nconst most: bigint = model.input.maximum;\n"
    assert (
        compiled(workshop, "read.mts", printed + held + "export { exactly, most };\n", **options)
        == ""
    )
    wrong = compiled(
        workshop, "read.mts", printed + "export const no: string = bytes;\n", **options
    )
    assert "TS2322" in wrong


def test_package__in_a_commonjs_project__has_its_types(workshop: Path) -> None:
    source = """
import { decode, type Tensor } from "@verifiable-inference/contracts";
import { inferenceClient } from "@verifiable-inference/contracts/ethers";
import { inferenceOracleAbi } from "@verifiable-inference/contracts/abi/InferenceOracle.cjs";
import { JsonRpcProvider } from "ethers";
export const numbers = (tensor: Tensor): number[] => decode("0x00", tensor);
export const first: string = inferenceOracleAbi[0].type;
const client = inferenceClient("0x00", new JsonRpcProvider());
export const cost: Promise<bigint> = client.estimateCost(1);
"""
    assert compiled(workshop, "old.cts", source, noEmit=True) == ""
    assert "TS2322" in compiled(workshop, "old.cts", source + "export const no: string = numbers;")
