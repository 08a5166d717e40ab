"""The prover that a node's configuration asks for."""

from __future__ import annotations

from pathlib import Path

from oracle.config import NodeConfig
from oracle.prover.base import Prover
from oracle.prover.local import LocalProver


def prover_for(config: NodeConfig, work_dir: Path, workers: int) -> Prover:
    """This machine, or the Ray cluster; the caller closes it.

    Args:
        config: the node's.
        work_dir: created if missing; anything in it may be deleted.
        workers: most proofs at the same time.

    Raises:
        ConfigError: Ray is not installed, or the folder cannot be used.
    """
    if config.ray_address is None:
        return LocalProver(
            work_dir, workers=workers, threads=config.threads, memory_bytes=config.memory_bytes
        )
    from oracle.prover.ray import RayProver

    return RayProver(
        work_dir,
        address=config.ray_address,
        workers=workers,
        cpus=config.ray_cpus,
        gpus=config.ray_gpus,
    )
