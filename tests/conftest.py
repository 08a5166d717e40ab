"""Fixtures that several suites share, and how the suite is spread and sampled.

What is dear to make (bundles, compiled contracts, strings) is made once, kept under ``build/`` by the
hash of what it is made of, and checked by hash whenever it is read.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from oracle.circuits.build import build_cached
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource
from oracle.config import build_dir, project_root
from tests import sampling
from tests.postgres import PostgresServer, in_memory

#: Files that take long, the longest first (`make test` prints what they take): of two processes
#: neither is to begin with one when the other has nothing left to do.
_LONGEST = (
    "tests/crash/test_matrix.py",
    "tests/e2e/test_command_line.py",
    "tests/e2e/test_batches.py",
    "tests/contracts/test_gas_snapshot.py",
    "tests/node/test_batches.py",
    "tests/circuits/test_prover.py",
    "tests/circuits/test_build.py",
    "tests/circuits/test_batches.py",
    "tests/contracts/test_kit.py",
    "tests/circuits/test_kept.py",
    "tests/fault/test_faults.py",
    "tests/e2e/test_bad_input.py",
    "tests/node/test_fleet.py",
    "tests/docs/test_commands.py",
    "tests/e2e/test_survival.py",
    "tests/circuits/test_ray.py",
    "tests/circuits/test_reveal.py",
    "tests/circuits/test_publishers_page.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="run exhaustive sets whole")
    parser.addoption("--sample", type=int, metavar="SEED", help="repeat a run's samples")


def pytest_configure(config: pytest.Config) -> None:
    # Workers of pytest-xdist inherit the environment: they sample alike, at midnight too.
    if config.getoption("whole"):
        os.environ[sampling.WHOLE] = "1"
    if (seed := config.getoption("sample")) is not None:
        os.environ[sampling.SEED] = str(seed)
    os.environ.setdefault(sampling.SEED, str(sampling.seed()))
    # Processes are started by the hundred: they need not compile what they import each time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Stores that are made by the thousand wait for a disk otherwise.
    if (memory := in_memory()) is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # In the end: a quiet run has no header.
    terminalreporter.write_line(
        "exhaustive sets: whole"
        if sampling.is_whole()
        else f"exhaustive sets: sampled, --sample {sampling.seed()} repeats it (whole: make test-long)"
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A file's tests share what they start, so they stay together; the longest files come first."""
    _leave_out(config, items)
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    files = {item: item.path.relative_to(config.rootpath).as_posix() for item in items}
    for item, name in files.items():
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: ranks.get(files[item], len(ranks)))


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test marked ``sampled(n)`` keep so many cases."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, all_ in cases.items():
        (most,) = all_[0].get_closest_marker("sampled").args
        left_out = set(all_) - set(sampling.sample(name, all_, most))
        if left_out:
            config.hook.pytest_deselected(items=[item for item in all_ if item in left_out])
            items[:] = [item for item in items if item not in left_out]


MODELS = project_root() / "scripts" / "models"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, empty at first."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def iris_onnx() -> Path:
    """The committed model file, free batch dimension, no tag."""
    return MODELS / "iris.onnx"


@pytest.fixture(scope="session")
def iris_samples() -> np.ndarray:
    """Calibration rows, float32 [105, 4]."""
    return np.load(MODELS / "iris_samples.npy")


@pytest.fixture(scope="session")
def devnet_srs() -> SrsSource:
    """Unsafe SRS files of this machine."""
    return SrsSource(build_dir() / "srs", unsafe=True)


@pytest.fixture(scope="session")
def iris_bundle(iris_onnx: Path, iris_samples: np.ndarray, devnet_srs: SrsSource) -> Bundle:
    """The demo model, built as the demo builds it."""
    return build_cached(iris_onnx, iris_samples, name="iris", max_error=0.1, srs=devnet_srs)


@pytest.fixture(scope="session")
def iris_batch_bundle(iris_onnx: Path, iris_samples: np.ndarray, devnet_srs: SrsSource) -> Bundle:
    """The demo model for one row and for 32; half a minute to build."""
    return build_cached(
        iris_onnx, iris_samples, name="iris", max_error=0.1, srs=devnet_srs, batches=(1, 32)
    )


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Where the machines of `ray_cluster` keep files and jobs, and no other cluster does."""
    # Its sockets are in there too, and their names may not be long.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def ray_cluster(ray_folder: Path) -> Iterator[str]:
    """Address of a Ray cluster of two machines with one processor each, both of them this one."""
    machine = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_usage_stats_enabled", "0")
        patch.setenv("TMPDIR", str(ray_folder))
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args=machine)
        try:
            cluster.add_node(**machine)
            cluster.wait_for_nodes()
        except BaseException:
            cluster.shutdown()
            raise
    yield cluster.address
    cluster.shutdown()
