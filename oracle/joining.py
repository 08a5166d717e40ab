"""A model more on a devnet that runs: registered if it is not, and in its node's configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from oracle.chain import deployments
from oracle.chain.contracts import RegistryContract
from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.circuits.bundle import Bundle
from oracle.config import load_node_config
from oracle.deployer import deployed_model
from oracle.errors import ConfigError, ModelUnsupported
from oracle.policy import same_circuit
from oracle.publisher import register

_BUNDLES = re.compile(r"^bundles\s*=\s*\[[^\]]*\]", re.MULTILINE)


def registered(
    bundle: Bundle, rpc: Rpc, registry: str, key: Path, progress: Callable[[str], None]
) -> int:
    """The id of a bundle's model; it is registered, for no fee, if no open model is this one.

    Args:
        bundle: what was built.
        rpc: the devnet.
        registry: its ModelRegistry.
        key: file of the account that registers it.
        progress: called with a few words before each transaction.

    Raises:
        ChainError: a transaction failed.
    """
    known = RegistryContract(rpc, registry)
    for model_id in range(1, known.count() + 1):
        try:
            model = known.model(model_id)
        except ModelUnsupported:
            continue
        if model is None or not model.is_open:
            continue
        ranges = model.spec.input_ranges == bundle.spec.input_ranges
        if ranges and same_circuit(model.spec, bundle.spec):
            return model_id
    signer = LocalSigner.from_key_file(key)
    found = register(bundle, rpc, registry, signer, fee=0, progress=progress)
    deployments.record_model(rpc.chain_id, registry, deployed_model(bundle, found))
    return found.model_id


def folders(config: Path) -> tuple[str, ...]:
    """The bundles that a node's configuration names, in whole."""
    return tuple(str(path.resolve()) for path in load_node_config(config).bundles)


def add(config: Path, bundle: Path) -> None:
    """Have a node's configuration name a bundle, beside what it names.

    Raises:
        ConfigError: it is written in a way that is not changed by us; it stays as it is.
    """
    wanted = (*folders(config), str(bundle.resolve()))
    text = config.read_text()
    line = f"bundles = {json.dumps(wanted, ensure_ascii=False)}"
    changed = config.with_name(f"{config.name}.partial")
    changed.touch(mode=config.stat().st_mode & 0o777)
    try:
        changed.write_text(_BUNDLES.sub(lambda _: line, text, count=1))
        try:
            is_added = folders(changed) == wanted
        except ConfigError:
            is_added = False
        if not is_added:
            raise ConfigError(
                f"the bundles of {config} could not be added to",
                remedy=f"Write there, and start the node again: {line}",
            )
        changed.replace(config)
    finally:
        changed.unlink(missing_ok=True)
