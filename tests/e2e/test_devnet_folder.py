"""What `oracle devnet` does to the folder it is given, and to a node that outlived its chain."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from oracle import background, joining
from oracle.background import Process, Standing
from oracle.circuits.bundle import Bundle
from oracle.cli.devnet import _text
from oracle.cli.progress import ConsoleReport
from oracle.errors import UsageError
from tests.circuits.makers import ranged

Up = Callable[..., Standing]


@pytest.fixture
def up(tmp_path: Path, iris_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """Start a devnet in a folder; all that ran is stopped in the end."""
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path / "deployments"))
    started: list[Standing] = []

    def start(folder: Path, *, with_node: bool = False) -> Standing:
        report = ConsoleReport(Console(quiet=True))
        started.append(background.up(folder, iris_bundle, report, port=0, with_node=with_node))
        return started[-1]

    yield start
    for found in started:
        for process in filter(None, (found.node, found.anvil)):
            process.stop()


def kill(process: Process | None) -> None:
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.stop()


@pytest.mark.parametrize("left", [("anvil.log",), ("anvil.log", "node.toml", "node.key")])
def test_up__somebodys_folder_with_a_log_of_anvil__is_left_alone(
    up: Up, tmp_path: Path, left: tuple[str, ...]
) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "Mine.sol").write_text("contract Mine {}")
    for name in left:
        (project / name).write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        up(project)
    assert (project / "src" / "Mine.sol").exists()
    assert all((project / name).read_text() == "mine" for name in left)


def test_up__node_outlived_its_chain__is_stopped_and_what_is_not_the_devnets_stays(
    up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One devnet three times: killed and started anew, killed and stopped, stopped and started."""
    folder = tmp_path / "devnet"
    folder.mkdir()
    monkeypatch.chdir(folder)
    first = up(folder, with_node=True)
    assert first.node is not None
    (folder / "signed.json").write_text("{}")
    (folder / "jobs.txt").symlink_to(folder / "signed.json")
    kill(first.anvil)
    assert first.node.is_running
    second = up(folder, with_node=True)
    assert not first.node.is_running
    # The shell stands in the folder, which was not made anew.
    assert "caller   caller.key" in _text(second)
    assert second.node is not None
    kill(second.anvil)
    assert background.down(folder) == second
    assert not second.node.is_running
    assert background.down(folder) is None
    third = up(folder)
    assert third.anvil.is_running
    assert (folder / "signed.json").read_text() == "{}"
    assert (folder / "jobs.txt").is_symlink()


def test_add__to_a_devnet_that_runs__registered_once_and_served(
    up: Up, tmp_path: Path, iris_bundle: Bundle
) -> None:
    """The node is started again where it lacks the bundle, and stays as it is where it has it."""
    folder, quiet = tmp_path / "devnet", ConsoleReport(Console(quiet=True))
    spec = iris_bundle.spec.input
    row = (spec.minimum, spec.maximum)
    other = ranged(iris_bundle, tmp_path / "an other", (row, row, row, (0, 3 << spec.scale)))
    first = up(folder, with_node=True)
    assert first.node is not None
    found = background.add(folder, first, other, quiet)
    assert found.node is not None
    try:
        assert found.anvil == first.anvil
        assert not first.node.is_running
        assert found.node.is_running
        assert found.serves == (str(iris_bundle.path.resolve()), str(other.path))
        assert [(each.model_id, each.model) for each in found.added] == [(2, other.name)]
        shown = _text(found).splitlines()
        assert "model    2, iris" in shown
        assert f"Ask:  oracle request {found.added[0].example} --model 2 " in shown[-1]
        assert background.find(folder) == found
        assert background.add(folder, found, other, quiet) == found
        assert background.add(folder, found, iris_bundle, quiet) == found
        assert '"models": "iris, iris"' in (folder / "node.log").read_text()
    finally:
        background.down(folder)


def test_add__node_does_not_run__its_configuration_has_the_bundle(
    up: Up, tmp_path: Path, iris_bundle: Bundle
) -> None:
    folder, quiet = tmp_path / "devnet", ConsoleReport(Console(quiet=True))
    spec = iris_bundle.spec.input
    row = (spec.minimum, spec.maximum)
    other = ranged(iris_bundle, tmp_path / "other", (row, row, row, (0, 3 << spec.scale)))
    found = background.add(folder, up(folder), other, quiet)
    assert found.node is None
    assert joining.folders(Path(found.node_config))[-1] == str(other.path)
