"""What is deployed where: one committed JSON file per chain, ``deployments/<chain id>.json``.

Written by the deployment script, read by whoever needs an address. Addresses are EIP-55 checksum
strings, hashes are hex with 0x. Equal deployments give equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from oracle.config import deployments_dir
from oracle.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """A model registered by a deployment."""

    model_id: int
    name: str
    verifier: str
    #: EXTCODEHASH of the verifier.
    code_hash: str
    #: The bundle's content id (SHA-256 of its specification, hex).
    bundle: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """The contracts on one chain."""

    chain_id: int
    oracle: str
    registry: str
    #: First block that can hold a log of these contracts.
    block: int
    models: tuple[DeployedModel, ...]
    #: Version by tool, such as solc and ezkl.
    versions: dict[str, str]


def deployment_path(chain_id: int, folder: Path | None = None) -> Path:
    """Where the deployment on a chain is recorded; by default in the project's ``deployments``."""
    return (folder or deployments_dir()) / f"{chain_id}.json"


def save(deployment: Deployment, folder: Path | None = None) -> Path:
    """Write a deployment, replacing the chain's earlier one; returns the file."""
    path = deployment_path(deployment.chain_id, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(deployment), indent=2, sort_keys=True) + "\n")
    return path


def load(chain_id: int, folder: Path | None = None) -> Deployment:
    """Read the deployment on a chain.

    Raises:
        ConfigError: none is recorded, or the file is not readable as one.
    """
    path = deployment_path(chain_id, folder)
    try:
        values = json.loads(path.read_text())
        models = tuple(DeployedModel(**model) for model in values.pop("models"))
        found = Deployment(models=models, **values)
    except FileNotFoundError:
        raise ConfigError(
            f"no deployment is recorded for chain {chain_id}",
            remedy="Name the oracle's address, or deploy with: ape run deploy",
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not a deployment record: {error}", remedy="Deploy again or restore the file"
        ) from None
    if found.chain_id != chain_id:
        raise ConfigError(f"{path} describes chain {found.chain_id}", remedy="Rename the file")
    return found
