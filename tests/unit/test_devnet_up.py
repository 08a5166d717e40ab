"""What `oracle devnet up` does where a devnet runs already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from oracle import background, demo
from oracle.circuits.bundle import Bundle
from oracle.cli.devnet import app
from tests.unit.test_devnet_example import SPECS, standing


@pytest.mark.parametrize(
    ("options", "done"),
    [
        ((), []),
        (("--node",), ["start_node"]),
        (("--bundle", "wine"), ["add wine, node False"]),
        (("--bundle", "wine", "--node"), ["add wine, node True"]),
    ],
)
def test_up__again__adds_what_is_asked_for_and_builds_no_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...], done: list[str]
) -> None:
    found, did = standing(SPECS["tokens"]), []

    def add(_: Path, __: Any, bundle: Any, ___: Any, *, with_node: bool) -> Any:
        did.append(f"add {bundle}, node {with_node}")
        return found

    def start_node(*_: Any) -> Any:
        did.append("start_node")
        return found

    monkeypatch.setattr(background, "find", lambda _: found)
    monkeypatch.setattr(background, "add", add)
    monkeypatch.setattr(background, "start_node", start_node)
    monkeypatch.setattr(Bundle, "load", lambda path: path)
    monkeypatch.setattr(demo, "iris_bundle", lambda _: pytest.fail("no model is needed"))
    result = CliRunner().invoke(app, ["up", "--folder", str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    assert did == done
