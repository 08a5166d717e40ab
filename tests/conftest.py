"""Fixtures that several suites share. The bundle is built once and kept under ``build/``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from oracle.circuits.build import build_cached
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource
from oracle.config import build_dir, project_root
from tests.postgres import PostgresServer

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
def ray_cluster() -> Iterator[str]:
    """Address of a Ray cluster of two machines with one processor each, both of them this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_usage_stats_enabled", "0")
        from ray.cluster_utils import Cluster

        machine = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=machine)
        try:
            cluster.add_node(**machine)
            cluster.wait_for_nodes()
            yield cluster.address
        finally:
            cluster.shutdown()
