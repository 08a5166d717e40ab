"""Where things are and what the environment says: the only module that reads it."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path:
    """The checkout that holds ``contracts/`` and ``node_modules/``."""
    return Path(os.environ.get("ORACLE_ROOT", Path(__file__).resolve().parent.parent))


def build_dir() -> Path:
    """Everything generated: bundles, SRS files, compiler wrappers and caches, benchmarks."""
    return Path(os.environ.get("ORACLE_BUILD_DIR", project_root() / "build"))
