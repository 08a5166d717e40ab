"""Where a devnet's addresses are found, when several have one chain id."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from oracle.chain import deployments
from oracle.chain.deployments import Deployment
from oracle.chain.rpc import Rpc
from oracle.cli.chain import chain_of
from oracle.devnet import Anvil
from oracle.errors import WrongChain

URL = "http://127.0.0.1:8545"
OTHER = "http://127.0.0.1:8546"
RECORD = Deployment(chain_id=31337, oracle="0x0a", registry="0x0b", block=0, models=(), versions={})


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path))


def chain(first: int) -> Rpc:
    """A chain whose first block has this hash."""
    block = SimpleNamespace(hash=bytes([first]) * 32)
    answers: Any = SimpleNamespace(chain_id=31337, block=lambda _: block)
    return cast("Rpc", answers)


def test_at__two_devnets__each_has_its_own() -> None:
    """contract-developers D7: whichever was started last, and whatever became of the chain's file."""
    for url, first, oracle in ((URL, 1, "0x01"), (OTHER, 2, "0x02")):
        record = dataclasses.replace(RECORD, oracle=oracle, genesis="0x" + f"{first:02x}" * 32)
        deployments.save_devnet(record, url)
    assert deployments.at(chain(1), URL).oracle == "0x01"
    assert deployments.at(chain(2), OTHER).oracle == "0x02"


def test_at__port_of_another_chain_by_now__is_the_chains_record() -> None:
    """contract-developers D7: a devnet that was killed leaves its file behind."""
    deployments.save_devnet(dataclasses.replace(RECORD, genesis="0x" + "01" * 32), URL)
    deployments.save(dataclasses.replace(RECORD, oracle="0x0c"))
    assert deployments.at(chain(9), URL).oracle == "0x0c"
    assert deployments.at(chain(1), OTHER).oracle == "0x0c"


@pytest.mark.parametrize("oracle", [None, "0x" + "0a" * 20], ids=["unnamed", "named"])
def test_chain_of__another_chain_than_the_endpoint_serves__says_which(
    tmp_path: Path, oracle: str | None
) -> None:
    """Whoever mistypes --chain-id is not sent to deploy there."""
    with (
        Anvil(tmp_path / "anvil.log") as anvil,
        pytest.raises(WrongChain, match="serves chain 31337, not 1"),
    ):
        chain_of(anvil.url, 1, oracle).rpc.head()
