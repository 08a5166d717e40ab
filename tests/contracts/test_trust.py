"""Which set-up a model may be registered with, and what the registry says of it afterwards."""

from __future__ import annotations

import re
from typing import Any

import pytest
from eth_utils import keccak, to_canonical_address, to_checksum_address
from pyrevm import AccountInfo

from oracle.circuits.bundle import LOCAL_CHAINS
from oracle.circuits.srs import ceremony_pins
from oracle.config import project_root
from oracle.types import ProofSystem, Trust
from tests.contracts.evm import Chain, Reverted
from tests.contracts.world import (
    GROTH16,
    HALO2_KZG,
    SRS_HASH,
    STARK,
    World,
    make_world,
)

HOME_MADE = b"\4" * 32
TRANSCRIPT = b"\x7a" * 32
OWN_CEREMONY: dict[str, Any] = {"transcriptHash": TRANSCRIPT, "contributors": 2}
SIZES = (1, 2, 32)
#: Mainnet, a test network, and the neighbours of the local ids.
OTHER_CHAINS = (1, 11_155_111, *(i + step for i in LOCAL_CHAINS for step in (-1, 1)))
each_circuit = pytest.mark.parametrize("home_made", SIZES)


def register(world: World, *home_made: int) -> int:
    """A model whose circuits of these sizes have another SRS than the ceremony's."""
    hashes = {size: HOME_MADE if size in home_made else SRS_HASH for size in SIZES}
    circuits = [world.circuit(size=size, setupHash=hash_) for size, hash_ in hashes.items()]
    return world.register(verifiers=circuits)


def trust(world: World, model_id: int) -> tuple[int, bytes, int]:
    """Kind, transcript and contributors."""
    kind, transcript, contributors = world.registry.read("trustOf", model_id)
    return kind, transcript, contributors


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
    with pytest.raises(Reverted, match="UnsafeSetup") as caught:
        register(world, home_made)
    assert caught.value.values == (home_made, HOME_MADE)
    assert world.registry.read("count") == 1


@each_circuit
@pytest.mark.parametrize("chain_id", LOCAL_CHAINS)
def test_register__home_made_srs_in_any_circuit__on_a_local_chain_taken_and_marked(
    chain_id: int, home_made: int
) -> None:
    world = make_world(chain_id)
    assert trust(world, register(world, home_made)) == (Trust.ONE_PARTY, bytes(32), 0)


@pytest.mark.parametrize("chain_id", [1, *LOCAL_CHAINS])
def test_register__ceremonys_srs_in_every_circuit__taken_anywhere_and_trusted(
    chain_id: int,
) -> None:
    world = make_world(chain_id)
    assert trust(world, register(world)) == (Trust.UNIVERSAL_CEREMONY, bytes(32), 0)


def test_trust__is_of_its_own_model() -> None:
    world = make_world(31337)
    unsafe, safe = register(world, *SIZES), register(world)
    assert trust(world, unsafe)[0] == Trust.ONE_PARTY
    assert trust(world, safe)[0] == Trust.UNIVERSAL_CEREMONY


@pytest.mark.parametrize("model_id", [0, 2, 2**256 - 1])
def test_trust__unknown_model__is_none(world: World, model_id: int) -> None:
    with pytest.raises(Reverted, match="UnknownModel"):
        trust(world, model_id)


# --- other proof systems ---


@pytest.mark.parametrize("chain_id", [1, *LOCAL_CHAINS])
def test_register__groth16_with_a_transcript__is_a_ceremony_of_its_own(chain_id: int) -> None:
    world = make_world(chain_id)
    model_id = world.register(sizes=SIZES, system=GROTH16, **OWN_CEREMONY)
    assert trust(world, model_id) == (Trust.CEREMONY, TRANSCRIPT, 2)
    model = world.registry.read("getModel", model_id)
    assert model[-3:-1] == (TRANSCRIPT, 2)
    assert {circuit[4] for circuit in model[-1]} == {GROTH16}


@pytest.mark.parametrize("setup", [HOME_MADE, SRS_HASH])
def test_register__groth16_without_a_transcript__is_one_partys(setup: bytes) -> None:
    """The universal ceremony is only its first phase: the second has a secret, too."""
    local, world = make_world(31337), make_world(1)
    model_id = local.register(system=GROTH16, setupHash=setup)
    assert trust(local, model_id) == (Trust.ONE_PARTY, bytes(32), 0)
    with pytest.raises(Reverted, match="UnsafeSetup") as caught:
        world.register(system=GROTH16, setupHash=setup)
    assert caught.value.values == (1, setup)


@pytest.mark.parametrize(
    ("system", "transcript", "contributors"),
    [
        # A number that nothing shows, one contributor, nobody.
        (GROTH16, bytes(32), 1000),
        (GROTH16, TRANSCRIPT, 1),
        (GROTH16, TRANSCRIPT, 0),
        # Of no ceremony of the model's.
        (HALO2_KZG, TRANSCRIPT, 2),
        (HALO2_KZG, bytes(32), 2),
    ],
)
def test_register__transcript_that_does_not_fit__is_refused(
    system: ProofSystem, transcript: bytes, contributors: int
) -> None:
    world = make_world(31337)
    with pytest.raises(Reverted, match="InvalidModel") as caught:
        world.register(system=system, transcriptHash=transcript, contributors=contributors)
    assert caught.value.values[0].rstrip(b"\0") == b"transcript"


@pytest.mark.parametrize("chain_id", [1, *LOCAL_CHAINS])
def test_register__stark__has_no_setup_to_forge_with(chain_id: int) -> None:
    world = make_world(chain_id)
    model_id = world.register(system=STARK, setupHash=bytes(32))
    assert trust(world, model_id) == (Trust.TRANSPARENT, bytes(32), 0)
    with pytest.raises(Reverted, match="InvalidModel") as caught:
        world.register(system=STARK, setupHash=SRS_HASH)
    assert caught.value.values[0].rstrip(b"\0") == b"setupHash"


def test_register__unknown_proof_system__is_refused(world: World) -> None:
    with pytest.raises(Reverted, match="InvalidModel") as caught:
        world.register(system=0)
    assert caught.value.values[0].rstrip(b"\0") == b"system"
    with pytest.raises(Reverted):
        world.register(system=len(ProofSystem) + 1)
    assert world.registry.read("count") == 1


@pytest.mark.parametrize(
    ("systems", "expected"),
    [
        ((STARK, HALO2_KZG, STARK), (Trust.UNIVERSAL_CEREMONY, bytes(32), 0)),
        ((HALO2_KZG, STARK, GROTH16), (Trust.CEREMONY, TRANSCRIPT, 2)),
        ((GROTH16, HALO2_KZG, STARK), (Trust.CEREMONY, TRANSCRIPT, 2)),
    ],
)
def test_trust__circuits_of_several_systems__is_that_of_the_weakest(
    world: World, systems: tuple[ProofSystem, ...], expected: tuple[Trust, bytes, int]
) -> None:
    ceremony = OWN_CEREMONY if GROTH16 in systems else {}
    circuits = [
        world.circuit(
            size=size, system=system, setupHash=bytes(32) if system == STARK else SRS_HASH
        )
        for size, system in zip(SIZES, systems, strict=True)
    ]
    assert trust(world, world.register(verifiers=circuits, **ceremony)) == expected


def test_trust__one_party_beside_a_ceremony__shows_no_transcript() -> None:
    """Who looks for the transcript alone must not find it."""
    world = make_world(31337)
    circuits = [
        world.circuit(size=1, system=GROTH16),
        world.circuit(size=2, setupHash=HOME_MADE),
    ]
    model_id = world.register(verifiers=circuits, **OWN_CEREMONY)
    assert trust(world, model_id) == (Trust.ONE_PARTY, bytes(32), 0)


def test_consumer__requires_what_it_trusts() -> None:
    world = make_world(31337)
    stark = {"system": STARK, "setupHash": bytes(32)}
    groth16 = {"system": GROTH16, **OWN_CEREMONY}
    for changes, transcript in (({}, bytes(32)), (stark, bytes(32)), (groth16, TRANSCRIPT)):
        model_id = world.register(**changes)
        assert world.deploy("TrustingConsumer", model_id, transcript).read("model") == model_id
    for changes, transcript in (
        ({"setupHash": HOME_MADE}, TRANSCRIPT),
        ({"system": GROTH16}, bytes(32)),
        (groth16, bytes(32)),
        (groth16, b"\5" * 32),
    ):
        with pytest.raises(Reverted):
            world.deploy("TrustingConsumer", world.register(**changes), transcript)
    with pytest.raises(Reverted, match="UnknownModel"):
        world.deploy("TrustingConsumer", 99, bytes(32))


# --- delegated code ---


def test_register__verifier_that_runs_anothers_code__is_refused(world: World) -> None:
    """audit 5: the hash is that of the delegation, which the account's key can exchange."""
    account = to_checksum_address("0x" + "77" * 20)
    code = bytes.fromhex("ef0100") + to_canonical_address(world.verifier.address)
    world.chain.revm.insert_account_info(account, AccountInfo(nonce=1, code=code))
    assert world.chain.code_hash(account) == keccak(code)
    with pytest.raises(Reverted, match="DelegatedVerifier") as caught:
        world.register(verifier=account, codeHash=keccak(code))
    assert caught.value.values == (account.lower(),)
    assert world.registry.read("count") == 1


@pytest.mark.parametrize("code", ["ef0101", "ee0100", "0100", "00ef0100"])
def test_register__verifier_whose_code_only_looks_like_it__is_taken(
    world: World, code: str
) -> None:
    account = to_checksum_address("0x" + "77" * 20)
    world.chain.revm.insert_account_info(account, AccountInfo(code=bytes.fromhex(code)))
    world.register(verifier=account, codeHash=keccak(hexstr=code))
