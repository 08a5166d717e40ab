"""The publishers' page: its commands run as printed, one after the other."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from eth_account import Account
from typer.testing import CliRunner

from oracle import errors
from oracle.circuits import bundle as files
from oracle.circuits.build import build_cached
from oracle.circuits.bundle import Bundle
from oracle.circuits.reveal import Reveal
from oracle.circuits.srs import SrsSource
from oracle.cli.main import app
from oracle.config import project_root
from oracle.devnet import Anvil, Deployed, deploy
from tests import sampling

PAGE = (project_root() / "docs" / "publishers.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def gas_of_policies() -> dict[str, int]:
    """What the page says that verifying a proof of each reveal policy takes."""
    rows = re.findall(
        r"^\| `(\S+)` \| .+ \| ([\d,]+) \|$", section("What is published"), re.MULTILINE
    )
    return {policy: int(gas.replace(",", "")) for policy, gas in rows}


#: How far the gas of two proofs of one circuit may be apart; other circuits differ by more.
ALIKE = 0.001


def commands() -> list[list[str]]:
    script = "".join(blocks("sh")).replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in script.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the checkout."""
    shutil.copytree(project_root() / "scripts" / "models", tmp_path / "scripts" / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def chain(iris_bundle: Bundle, tmp_path: Path) -> Iterator[tuple[Anvil, Deployed]]:
    with Anvil(tmp_path / "anvil.log") as anvil:
        yield anvil, deploy(anvil.w3, iris_bundle, "PredictionConsumer")


def publisher(folder: Path, anvil: Anvil) -> None:
    """A funded keystore, as the page names it."""
    account = Account.create()
    for name in ("publisher.json", "publisher.password"):
        (folder / name).touch(mode=0o600)
    (folder / "publisher.json").write_text(json.dumps(account.encrypt("open", iterations=1)))
    (folder / "publisher.password").write_text("open\n")
    anvil.w3.provider.make_request("anvil_setBalance", [account.address, hex(10**19)])


@pytest.mark.timeout(900)  # builds and audits, one after the other
def test_page__commands_run_as_printed(
    folder: Path, chain: tuple[Anvil, Deployed], devnet_srs: SrsSource
) -> None:
    anvil, deployed = chain
    publisher(folder, anvil)
    # PyTorch is no dependency: files as it exports them are in test_preparation.py.
    (python,) = [text for text in blocks("python") if "torch" not in text]
    exec(compile(python, "page", "exec"), {})
    # The page audits model 1 as if its own registration had been the first.
    first = deployed.registry.functions.count().call() + 1
    values = {"$RPC": anvil.url, "$ORACLE": deployed.oracle.address}
    for command in commands():
        arguments = [values.get(word, word) for word in command]
        if "--model-id" in arguments:
            arguments[arguments.index("--model-id") + 1] = str(first)
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (command, result.exception, result.output)
        if command[:2] == ["model", "register"]:
            request = f"oracle request VALUES --model {first} --rpc {anvil.url} --chain-id 31337"
            assert request in result.output
    made = {path.parent.name: path.parent for path in folder.glob("*/manifest.json")}
    assert set(made) == {"iris", "wine", "iris-batch"}
    built = Bundle.load(made["iris"], devnet_srs.folder).measures.verify_gas
    assert built == pytest.approx(gas_of_policies()["full"], rel=ALIKE)
    batches = Bundle.load(made["iris-batch"], devnet_srs.folder)
    stated = re.findall(r"^\| (\d+) \| 2\^\d+ rows \| ([\d,]+) \|", PAGE, re.MULTILINE)
    gas = {int(rows): int(figure.replace(",", "")) for rows, figure in stated}
    for circuit in batches.circuits:
        assert circuit.measures.verify_gas == pytest.approx(gas[circuit.size], rel=0.02)
    wine = Bundle.load(made["wine"], devnet_srs.folder)
    assert wine.spec.output.length == 1
    assert wine.measures.label_agreement == 1.0


@pytest.mark.timeout(900)  # a build, unless this code has built it before
@pytest.mark.parametrize(
    "policy", sampling.sample("policies", sorted(set(gas_of_policies()) - {"full"}), 1)
)
def test_page__gas_of_a_policy__is_what_the_build_of_the_page_measures(
    policy: str, iris_onnx: Path, iris_samples: np.ndarray, devnet_srs: SrsSource
) -> None:
    """`full` is what the page itself builds; of the others one is drawn a day."""
    (build,) = (words for words in commands() if words[-3:-1] == ["--out", "iris"])
    bundle = build_cached(
        iris_onnx,
        iris_samples,
        name="iris",
        max_error=float(build[build.index("--max-error") + 1]),
        srs=devnet_srs,
        reveal=Reveal.parse(policy),
    )
    assert bundle.measures.verify_gas == pytest.approx(gas_of_policies()[policy], rel=ALIKE)


def test_page__every_policy_error_code_and_file_is_one_that_exists() -> None:
    assert set(gas_of_policies()) == {"full", "top1", "topk:2", "threshold:0.5", "round:1"}

    def first_cells(heading: str) -> list[str]:
        rows = re.findall(r"^\| (`.*?`) \|", section(heading), re.MULTILINE)
        return [name for row in rows for name in re.findall(r"`(.*?)`", row)]

    policies = first_cells("What is published")
    assert [str(Reveal.parse(policy)) for policy in policies] == policies
    codes = {value.code for value in vars(errors).values() if hasattr(value, "code")}
    assert set(first_cells("When a build refuses")) <= codes
    named = {*files.FILES, files.CANDIDATES, files.PLOT, files.CARD, files.MANIFEST}
    named.add("batch32/")
    assert set(first_cells("Build")) == named
