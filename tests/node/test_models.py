"""Which registered model a bundle is, in a registry that anybody may write to."""

from __future__ import annotations

from typing import Any

import pytest
from eth_utils.crypto import keccak

from oracle.chain.contracts import RegistryContract
from oracle.circuits.srs import ceremony_pins
from oracle.errors import ContractMismatch
from oracle.node import _describe, _registered
from oracle.testing import REGISTRY, FakeChain
from oracle.types import InputKind, ModelSpec, ProofSystem

from .world import VERIFIER_CODE, served, spec


def found(chain: FakeChain, model: ModelSpec | None = None) -> str:
    rpc = chain.rpc()
    registry = RegistryContract(rpc, REGISTRY)
    wanted = served(model or spec())
    return _describe(registry, wanted, _registered(rpc, registry, wanted))


def test_find__same_hashes_with_another_verifier_came_first__the_real_one_is_found() -> None:
    chain = FakeChain()
    chain.register(spec(verifier_code_hash=keccak(b"evil")), verifier_code=b"evil")
    chain.register(spec(), verifier_code=VERIFIER_CODE)
    assert found(chain) == "swap is model 2 (rows in a proof: 1; unsafe SRS)"


def test_find__codec_of_a_newer_version_came_first__the_real_one_is_found() -> None:
    chain = FakeChain()
    chain.register(spec(codec=7), verifier_code=VERIFIER_CODE)
    chain.register(spec(), verifier_code=VERIFIER_CODE)
    assert found(chain) == "swap is model 2 (rows in a proof: 1; unsafe SRS)"


def test_find__srs_of_the_ceremony__has_no_mark() -> None:
    chain = FakeChain()
    safe = spec(srs_hash=ceremony_pins()[11])
    chain.register(safe, verifier_code=VERIFIER_CODE)
    assert found(chain, safe) == "swap is model 1 (rows in a proof: 1)"


@pytest.mark.parametrize(
    "changes", [{"input_kind": InputKind.COMMITMENT}, {"system": ProofSystem.STARK}]
)
def test_find__same_hashes_with_another_kind_came_first__the_real_one_is_found(
    changes: dict[str, Any],
) -> None:
    """A home-made SRS under a system that needs none: a false claim that nobody should answer."""
    chain = FakeChain()
    chain.register(spec(), verifier_code=VERIFIER_CODE, **changes)
    with pytest.raises(ContractMismatch, match="another proof system or kind of input"):
        found(chain)
    chain.register(spec(), verifier_code=VERIFIER_CODE)
    assert found(chain) == "swap is model 2 (rows in a proof: 1; unsafe SRS)"


def test_find__only_another_verifier__is_a_mismatch_that_names_it() -> None:
    chain = FakeChain()
    chain.register(spec(), verifier_code=b"evil")
    with pytest.raises(ContractMismatch, match="verifier of model 1"):
        found(chain)


def test_find__nothing__says_so() -> None:
    with pytest.raises(ContractMismatch, match="not registered"):
        found(FakeChain())


def test_find__same_hashes_with_other_input_ranges_came_first__the_real_one_is_found() -> None:
    chain = FakeChain()
    ranged = spec(input_ranges=((-1000, 0), (1, 5)))
    chain.register(spec(), verifier_code=VERIFIER_CODE)
    with pytest.raises(ContractMismatch, match="model 1 holds its inputs to other ranges"):
        found(chain, ranged)
    chain.register(ranged, verifier_code=VERIFIER_CODE)
    assert found(chain, ranged) == "swap is model 2 (rows in a proof: 1; unsafe SRS)"
