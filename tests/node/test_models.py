"""Which registered model a bundle is, in a registry that anybody may write to."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak

from oracle.chain.contracts import RegistryContract
from oracle.errors import ContractMismatch
from oracle.node import _describe, _registered
from oracle.testing import REGISTRY, FakeChain

from .world import VERIFIER_CODE, served, spec


def found(chain: FakeChain) -> str:
    rpc = chain.rpc()
    model = served(spec())
    return _describe(model, _registered(rpc, RegistryContract(rpc, REGISTRY), model))


def test_find__same_hashes_with_another_verifier_came_first__the_real_one_is_found() -> None:
    chain = FakeChain()
    chain.register(spec(verifier_code_hash=keccak(b"evil")), verifier_code=b"evil")
    chain.register(spec(), verifier_code=VERIFIER_CODE)
    assert found(chain) == "swap is model 2 (rows in a proof: 1)"


def test_find__codec_of_a_newer_version_came_first__the_real_one_is_found() -> None:
    chain = FakeChain()
    chain.register(spec(codec=7), verifier_code=VERIFIER_CODE)
    chain.register(spec(), verifier_code=VERIFIER_CODE)
    assert found(chain) == "swap is model 2 (rows in a proof: 1)"


def test_find__only_another_verifier__is_a_mismatch_that_names_it() -> None:
    chain = FakeChain()
    chain.register(spec(), verifier_code=b"evil")
    with pytest.raises(ContractMismatch, match="verifier of model 1"):
        found(chain)


def test_find__nothing__says_so() -> None:
    with pytest.raises(ContractMismatch, match="not registered"):
        found(FakeChain())
