"""The Solidity verifier on an EVM: what it accepts, and all that it must not."""

from __future__ import annotations

import dataclasses

import pytest

from oracle.circuits.bundle import Bundle
from oracle.circuits.verifier import Verifier, compile_verifier, measure_gas
from oracle.errors import CircuitError, SolidityRejected, VerifierTooLarge
from oracle.prover.local import LocalProver
from oracle.tensor import R
from oracle.types import Proof
from tests.circuits.makers import job, outcome


@pytest.fixture(scope="module")
def verifier(iris_bundle: Bundle) -> Verifier:
    return compile_verifier((iris_bundle.path / "Verifier.sol").read_text())


@pytest.fixture(scope="module")
def proof(iris_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Proof:
    prover = LocalProver(tmp_path_factory.mktemp("jobs"))
    prover.submit(job(iris_bundle))
    result = outcome(prover).result
    prover.close()
    assert isinstance(result, Proof)
    return result


def test_verifier__recompiled__same_code_as_the_bundle(
    verifier: Verifier, iris_bundle: Bundle
) -> None:
    assert verifier.code_hash == iris_bundle.spec.verifier_code_hash
    assert verifier.bytecode == iris_bundle.verifier_bytecode
    assert verifier.abi == iris_bundle.verifier_abi


def test_verify__fresh_proof__accepted_in_a_static_call_within_the_promised_gas(
    verifier: Verifier, proof: Proof, iris_bundle: Bundle
) -> None:
    gas = measure_gas(verifier, proof.proof, proof.instances)
    assert gas <= iris_bundle.spec.verify_gas
    assert gas == pytest.approx(iris_bundle.measures.verify_gas, rel=0.02)


@pytest.mark.parametrize("index", range(12))
def test_verify__one_instance_changed__rejected(
    verifier: Verifier, proof: Proof, index: int
) -> None:
    assert len(proof.instances) == 4 + 5 + 3
    instances = list(proof.instances)
    instances[index] = (instances[index] + 1) % R
    with pytest.raises(CircuitError, match="rejects"):
        measure_gas(verifier, proof.proof, instances)


def test_verify__instance_plus_the_modulus__rejected(verifier: Verifier, proof: Proof) -> None:
    with pytest.raises(CircuitError, match="rejects"):
        measure_gas(verifier, proof.proof, [proof.instances[0] + R, *proof.instances[1:]])


def test_verify__byte_flipped_anywhere__rejected(verifier: Verifier, proof: Proof) -> None:
    for position in (*range(0, len(proof.proof), 97), len(proof.proof) - 1):
        flipped = bytearray(proof.proof)
        flipped[position] ^= 1
        with pytest.raises(CircuitError, match="rejects"):
            measure_gas(verifier, bytes(flipped), proof.instances)


@pytest.mark.parametrize("change", [lambda p: p[:-1], lambda p: p + b"\0", lambda p: b""])
def test_verify__proof_of_another_length__rejected(
    verifier: Verifier, proof: Proof, change
) -> None:
    with pytest.raises(CircuitError, match="rejects"):
        measure_gas(verifier, change(proof.proof), proof.instances)


def test_verify__instances_missing_or_added__rejected(verifier: Verifier, proof: Proof) -> None:
    for instances in (proof.instances[:-1], (*proof.instances, 0), ()):
        with pytest.raises(CircuitError, match="rejects"):
            measure_gas(verifier, proof.proof, instances)


def test_measure__other_runtime_code__noticed(verifier: Verifier, proof: Proof) -> None:
    other = dataclasses.replace(verifier, runtime=b"\x00")
    with pytest.raises(CircuitError, match="not the compiled one"):
        measure_gas(other, proof.proof, proof.instances)


def test_compile__over_the_code_size_limit__too_large_with_a_remedy() -> None:
    source = f'contract Big {{ bytes public data = hex"00"; function f() external pure returns (bytes memory) {{ return hex"{"ab" * 25_000}"; }} }}'
    with pytest.raises(VerifierTooLarge) as caught:
        compile_verifier(source.replace(" contract", "\ncontract"))
    assert caught.value.remedy


def test_compile__not_one_contract__refused(iris_bundle: Bundle) -> None:
    source = (iris_bundle.path / "Verifier.sol").read_text()
    with pytest.raises(CircuitError, match="2 contracts"):
        compile_verifier(source + "\ncontract Second {}\n")


def test_compile__broken_source__compilers_message() -> None:
    with pytest.raises(SolidityRejected):
        compile_verifier("contract Broken { nonsense }")
