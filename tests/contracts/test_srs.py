"""Which SRS a model may be registered with, and what the registry says of it afterwards."""

from __future__ import annotations

import re

import pytest

from oracle.circuits.bundle import LOCAL_CHAINS
from oracle.circuits.srs import ceremony_pins
from oracle.config import project_root
from tests.contracts.evm import Chain, Reverted
from tests.contracts.world import SRS_HASH, World, make_world

HOME_MADE = b"\4" * 32
SIZES = (1, 2, 32)
#: Mainnet, a test network, and the neighbours of the local ids.
OTHER_CHAINS = (1, 11_155_111, *(i + step for i in LOCAL_CHAINS for step in (-1, 1)))
each_circuit = pytest.mark.parametrize("home_made", SIZES)


def register(world: World, *home_made: int) -> int:
    """A model whose circuits of these sizes have another SRS than the ceremony's."""
    hashes = {size: HOME_MADE if size in home_made else SRS_HASH for size in SIZES}
    circuits = [world.circuit(size=size, srsHash=hash_) for size, hash_ in hashes.items()]
    return world.register(verifiers=circuits)


def source(path: str) -> str:
    return (project_root() / "contracts" / path).read_text()


def test_ceremony_list__is_the_pinned_one_in_its_order() -> None:
    listed = re.findall(r"\b0x([0-9a-f]{64})\b", source("libraries/CeremonySrs.sol"))
    assert [bytes.fromhex(hash_) for hash_ in listed] == [
        hash_ for _, hash_ in sorted(ceremony_pins().items())
    ]


def test_ceremony_list__compiled__has_every_pin_and_nothing_near() -> None:
    harness = Chain().deploy("LibraryHarness")
    for pin in ceremony_pins().values():
        assert harness.read("isCeremonys", pin)
        assert not harness.read("isCeremonys", pin[:-1] + bytes([pin[-1] ^ 1]))
        assert not harness.read("isCeremonys", bytes([pin[0] ^ 1]) + pin[1:])
    assert not harness.read("isCeremonys", bytes(32))


def test_local_chains__are_those_of_the_node() -> None:
    ids = re.findall(r"constant \w+_CHAIN = (\d+);", source("ModelRegistry.sol"))
    assert tuple(map(int, ids)) == LOCAL_CHAINS


@each_circuit
@pytest.mark.parametrize("chain_id", OTHER_CHAINS)
def test_register__home_made_srs_in_any_circuit__refused_where_value_is_at_stake(
    chain_id: int, home_made: int
) -> None:
    world = make_world(chain_id)
    with pytest.raises(Reverted, match="UnsafeSrs") as caught:
        register(world, home_made)
    assert caught.value.values == (home_made, HOME_MADE)
    assert world.registry.read("count") == 1


@each_circuit
@pytest.mark.parametrize("chain_id", LOCAL_CHAINS)
def test_register__home_made_srs_in_any_circuit__on_a_local_chain_taken_and_marked(
    chain_id: int, home_made: int
) -> None:
    world = make_world(chain_id)
    assert world.registry.read("isSrsUnsafe", register(world, home_made)) is True


@pytest.mark.parametrize("chain_id", [1, *LOCAL_CHAINS])
def test_register__ceremonys_srs_in_every_circuit__taken_anywhere_and_not_marked(
    chain_id: int,
) -> None:
    world = make_world(chain_id)
    assert world.registry.read("isSrsUnsafe", register(world)) is False


def test_srs_mark__is_of_its_own_model() -> None:
    world = make_world(31337)
    unsafe, safe = register(world, *SIZES), register(world)
    assert world.registry.read("isSrsUnsafe", unsafe)
    assert not world.registry.read("isSrsUnsafe", safe)


def test_srs_mark__unknown_model__is_no_safe_one(world: World) -> None:
    with pytest.raises(Reverted, match="UnknownModel"):
        world.registry.read("isSrsUnsafe", 2)
