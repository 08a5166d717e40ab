"""docs/cli.md says what the program says; every command explains itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from oracle.cli.main import DOORS, opened
from oracle.why.report import Cause
from scripts.export_cli import docs_path, meanings, page, tree


def commands() -> Iterator[tuple[str, Any]]:
    for name in DOORS:
        command = opened(name)
        for below, found in getattr(command, "commands", {"": command}).items():
            yield f"{name} {below}".strip(), found


COMMANDS = dict(commands())


def test_page__is_what_the_program_says() -> None:
    assert docs_path().read_text() == page(), "run: make cli-docs"


def test_page__has_every_error_and_every_cause() -> None:
    text = page()
    assert all(f"| `{error.code}` |" in text for error in tree())
    assert set(meanings()) == set(Cause)
    assert all(f"| `{cause.value}` |" in text for cause in Cause)


@pytest.mark.parametrize("name", DOORS)
def test_door__leads_to_a_command(name: str) -> None:
    assert DOORS[name].help.endswith(".")
    found = opened(name)
    assert hasattr(found, "commands") or found.name == name


@pytest.mark.parametrize("path", COMMANDS)
def test_command__explains_itself_and_every_option(path: str) -> None:
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{path}: {parameter.name} has no help"


# A node logs lines of JSON, and a signed request is JSON.
@pytest.mark.parametrize("path", sorted({*COMMANDS} - {"node run", "sign-request"}))
def test_command__can_be_listened_to_by_scripts(path: str) -> None:
    assert any("--json" in parameter.opts for parameter in COMMANDS[path].params)


@pytest.mark.parametrize("path", sorted(each for each in COMMANDS if not each.startswith("node")))
def test_command__shows_an_example_that_it_understands(path: str) -> None:
    command = COMMANDS[path]
    lines = [line.strip() for line in (command.epilog or "").splitlines()[2:]]
    assert lines, f"{path} has no example"
    for line in lines:
        assert line.startswith(f"oracle {path}")
        # Parsed, not run: an option that is gone or mistyped is refused here.
        command.make_context(path, line.split()[1 + len(path.split()) :])


def test_help_and_completion__do_not_wait_for_heavy_imports() -> None:
    program = """
import sys
from typer.testing import CliRunner
from oracle.cli.main import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
print(sorted({"web3", "numpy", "onnx", "eth_account", "solcx", "requests"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
