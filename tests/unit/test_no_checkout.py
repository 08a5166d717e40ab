"""The package installed by itself, without the project's sources or tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oracle.chain.toolchain import NO_CHECKOUT, toolchain
from oracle.cli.main import app
from oracle.config import project_root
from oracle.errors import ToolchainError

IRIS = project_root() / "scripts" / "models" / "iris.onnx"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the folder that the package was installed into."""
    monkeypatch.setenv("ORACLE_ROOT", str(tmp_path))
    monkeypatch.setenv("ORACLE_BUILD_DIR", str(tmp_path / "build"))
    return tmp_path


@pytest.mark.parametrize("words", ["demo", "devnet up --port 0 --folder devnet"])
def test_command__that_needs_the_sources__says_where_to_have_them(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """contract-developers D5: a traceback was the answer."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words.split())
    assert isinstance(done.exception, ToolchainError)
    assert done.exception.exit_code == 3
    assert done.exception.line().endswith(f"scripts/models/iris.onnx. {NO_CHECKOUT}.")


def test_inspect__needs_no_chain() -> None:
    """contract-developers D5: it wanted anvil, and a Makefile."""
    done = CliRunner().invoke(app, ["model", "inspect", str(IRIS), "--json"])
    assert done.exception is None, done.exception
    assert json.loads(done.stdout)["provable"]


def test_doctor__names_the_tool_that_is_missing_and_what_can_be_done() -> None:
    """contract-developers D5: "solc 0.8.37  anvil is not installed", and make setup."""
    said = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    lacking = {each["subject"]: each for each in said["findings"] if each["health"] == "missing"}
    for tool in ("solc 0.8.37", "solc 0.8.20", "anvil"):
        assert lacking[tool]["detail"] == f"{tool} is not installed"
        assert lacking[tool]["remedy"] == NO_CHECKOUT


def test_toolchain__in_a_checkout_without_setup__says_make_setup(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    with pytest.raises(ToolchainError, match="forge is not installed") as caught:
        toolchain().forge  # noqa: B018 - asking is the test
    assert caught.value.remedy == "Run: make setup"
