"""What is deployed where: one committed JSON file per chain, ``deployments/<chain id>.json``.

Written by ``oracle deploy`` and its Ape script, read by whoever needs an address. Addresses are
EIP-55 checksum strings, hashes are hex with 0x. Equal deployments give equal bytes, and a file is
replaced whole or not at all.

Several devnets have one chain id. Each has a file of its own besides, by the port that it listens on,
``deployments/<chain id>/devnet-<port>.json``, which holds for that chain's first block alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from oracle.chain.rpc import Rpc
from oracle.config import deployments_dir
from oracle.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DeployedContract:
    """A contract that a deployment created."""

    name: str
    address: str
    #: EXTCODEHASH.
    code_hash: str
    #: keccak256 of its creation code, constructor arguments not included.
    creation_hash: str
    #: ABI-encoded constructor arguments, hex with 0x.
    arguments: str
    #: Hash of the transaction that created it.
    transaction: str


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
    #: Hash of the chain's block 0: another chain may have the same id.
    genesis: str = ""
    #: Of a devnet's own record: the folder of its state, whose node.toml is a node's configuration.
    folder: str = ""
    contracts: tuple[DeployedContract, ...] = ()


def deployment_path(chain_id: int, folder: Path | None = None) -> Path:
    """Where the deployment on a chain is recorded; by default in the project's ``deployments``."""
    return (folder or deployments_dir()) / f"{chain_id}.json"


def save(deployment: Deployment, folder: Path | None = None) -> Path:
    """Write a deployment, replacing the chain's earlier one; returns the file."""
    path = deployment_path(deployment.chain_id, folder)
    write_whole(path, _text(deployment))
    return path


def _text(deployment: Deployment) -> str:
    values = dataclasses.asdict(deployment)
    if not deployment.folder:
        del values["folder"]
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def find(chain_id: int, folder: Path | None = None) -> Deployment | None:
    """The deployment on a chain, or None where none is recorded.

    Raises:
        ConfigError: the file is not readable as one.
    """
    return _read(deployment_path(chain_id, folder), chain_id)


def _read(path: Path, chain_id: int) -> Deployment | None:
    try:
        values = json.loads(path.read_text())
        models = tuple(DeployedModel(**model) for model in values.pop("models"))
        contracts = tuple(DeployedContract(**each) for each in values.pop("contracts", ()))
        found = Deployment(models=models, contracts=contracts, **values)
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not a deployment record: {error}", remedy="Deploy again or restore the file"
        ) from None
    if found.chain_id != chain_id:
        raise ConfigError(f"{path} describes chain {found.chain_id}", remedy="Rename the file")
    return found


def devnet_path(chain_id: int, url: str, folder: Path | None = None) -> Path:
    """Where the deployment on a devnet is recorded besides."""
    name = f"devnet-{urlsplit(url).port}.json"
    return (folder or deployments_dir()) / str(chain_id) / name


def save_devnet(deployment: Deployment, url: str) -> None:
    """Write a devnet's own record; ``deployment`` names the chain's first block."""
    write_whole(devnet_path(deployment.chain_id, url), _text(deployment))


def devnet(rpc: Rpc, url: str) -> Deployment | None:
    """The own record of the devnet behind an endpoint; None if it is none, or another one by now.

    Raises:
        ConfigError: the file is not readable as one.
    """
    own = _read(devnet_path(rpc.chain_id, url), rpc.chain_id)
    if own is None:
        return None
    first = rpc.block(0)
    return own if first is not None and own.genesis == "0x" + first.hash.hex() else None


def at(rpc: Rpc, url: str) -> Deployment:
    """The deployment on the chain behind an endpoint: a devnet's own, or the chain's.

    Raises:
        ConfigError: none is recorded, or the file is not readable as one.
        WrongChain: the endpoint serves another chain than it is asked for, of which none is.
    """
    own = devnet(rpc, url)
    if own is not None:
        return own
    found = find(rpc.chain_id)
    if found is None:
        # Else whoever names the wrong chain is sent to deploy on it.
        rpc.head()
        raise _none_recorded(rpc.chain_id, deployments_dir())
    return found


def load(chain_id: int, folder: Path | None = None) -> Deployment:
    """Read the deployment on a chain.

    Raises:
        ConfigError: none is recorded, or the file is not readable as one.
    """
    found = find(chain_id, folder)
    if found is None:
        raise _none_recorded(chain_id, folder or deployments_dir())
    return found


def _none_recorded(chain_id: int, folder: Path) -> ConfigError:
    return ConfigError(
        f"no deployment is recorded for chain {chain_id} in {folder}",
        remedy="Name the oracle's address with --oracle, or deploy with: oracle deploy",
    )


def record_model(
    chain_id: int, registry: str, model: DeployedModel, folder: Path | None = None
) -> None:
    """Add a model to the chain's record, if that is of this registry."""
    found = find(chain_id, folder)
    if found is None or found.registry != registry or model in found.models:
        return
    save(dataclasses.replace(found, models=(*found.models, model)), folder)
