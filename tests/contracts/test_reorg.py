"""Blocks that are undone and chains that split: a proof fits the request it was made for, wherever
that is mined again, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from eth_utils import keccak
from web3.exceptions import ContractCustomError

from tests.contracts.anvil import CHAIN_ID, Deployed, register
from tests.contracts.world import FULFILLED, NUMBERS, UNKNOWN, packed

MONEY = 10**18
OTHER_CHAIN = 5
#: Selector of the error.
PROOF_REJECTED = "0x" + keccak(text="ProofRejected()")[:4].hex()


def status(deployed: Deployed, request_id: int) -> int:
    return int(deployed.oracle.functions.status(request_id).call())


def undone(deployed: Deployed) -> tuple[int, int, bytes]:
    """Id, block and finished proof of a request whose block is no more."""
    before = deployed.devnet.rpc("evm_snapshot")
    receipt = deployed.request(MONEY)
    request_id = deployed.opened(receipt)[0]
    assert deployed.devnet.rpc("evm_revert", before)
    assert status(deployed, request_id) == UNKNOWN
    return request_id, receipt["blockNumber"], deployed.proof(request_id)


def test_reorg__request_mined_again__keeps_its_id_and_its_finished_proof(
    deployed: Deployed,
) -> None:
    """In a later block, after requests of others, and with another deadline and price."""
    request_id, block, proof = undone(deployed)
    deployed.request(MONEY, sender=3)
    deployed.devnet.rpc("anvil_mine", "0x5", "0x3c")
    again = deployed.request(MONEY // 2)
    assert again["blockNumber"] > block
    assert deployed.opened(again)[0] == request_id
    assert deployed.fulfil(again, proof)["status"] == 1
    assert status(deployed, request_id) == FULFILLED


@pytest.mark.parametrize("other", ["account", "model", "input"])
def test_reorg__another_request_in_its_place__gets_neither_its_id_nor_its_proof(
    deployed: Deployed, other: str
) -> None:
    devnet = deployed.devnet
    second = register(devnet, deployed.registry, devnet.deploy("HashVerifier").address)
    request_id, block, proof = undone(deployed)
    if other == "account":
        taking = deployed.request(MONEY, sender=3)
    elif other == "model":
        taking = replace(deployed, model_id=second).request(MONEY)
    else:
        taking = deployed.request(MONEY, packed([NUMBERS[0] + 1, *NUMBERS[1:]]))
    assert taking["blockNumber"] == block
    assert deployed.opened(taking)[0] != request_id
    assert deployed.fulfil(taking, proof)["status"] == 0
    assert status(deployed, request_id) == UNKNOWN


@pytest.fixture
def split(deployed: Deployed) -> Iterator[Deployed]:
    """A chain that can be given another id, in calls: its accounts sign for the first one."""
    yield deployed
    deployed.devnet.rpc("anvil_setChainId", CHAIN_ID)


def test_split__request_open_on_both_chains__needs_a_proof_for_each(split: Deployed) -> None:
    asked = split.request(MONEY)
    request_id = split.opened(asked)[0]
    first = split.fulfilment(asked)
    second = split.fulfilment(asked, split.proof(request_id, OTHER_CHAIN))
    first.call()
    split.devnet.rpc("anvil_setChainId", OTHER_CHAIN)
    second.call()
    with pytest.raises(ContractCustomError, match=PROOF_REJECTED):
        first.call()
