"""An audit passes what is honest and names what is not, however well it was sealed again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from eth_utils.crypto import keccak
from onnx import numpy_helper

from oracle import tensor
from oracle.chain.input_ranges import deployed_code
from oracle.chain.toolchain import SOLC_VERIFIERS, compile_solidity, toolchain
from oracle.circuits import audit as audit_module
from oracle.circuits import bundle as files
from oracle.circuits import srs
from oracle.circuits.audit import Audit, OnChain, audit
from oracle.circuits.build import LIMITS, build
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource, sha256_file
from oracle.errors import BundleInvalid, SrsMismatch
from oracle.prover.sandbox import Sandbox
from oracle.types import InputKind, ProofSystem, RegisteredModel, SetupTrust, Trust
from tests.circuits.makers import linear, ranged, saved, write_card

ONE_PARTY, CEREMONY = SetupTrust(Trust.ONE_PARTY), SetupTrust(Trust.UNIVERSAL_CEREMONY)
ACCEPTS_ALL = """// SPDX-License-Identifier: MIT
pragma solidity ^0.8.0;
contract Halo2Verifier {
    function verifyProof(bytes calldata, uint256[] calldata) external returns (bool) { return true; }
}
"""


def built(folder: Path, srs: SrsSource, *batches: int, activation: str = "Relu") -> Bundle:
    return build(
        saved(linear(activation), folder),
        np.random.default_rng(1).uniform(-1, 1, size=(16, 2)),
        name="small",
        max_error=0.1,
        out=folder / "bundle",
        srs=srs,
        batches=batches,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, devnet_srs: SrsSource) -> Bundle:
    return built(tmp_path_factory.mktemp("honest"), devnet_srs, 2)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, devnet_srs: SrsSource) -> Bundle:
    """Another model's bundle, to swap files with."""
    return built(tmp_path_factory.mktemp("other"), devnet_srs, activation="Identity")


@pytest.fixture
def single(other: Bundle, tmp_path: Path) -> Path:
    """A copy of a bundle for one row, to be tampered with."""
    return Path(shutil.copytree(other.path, tmp_path / "copy"))


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


def audited(path: Path, srs: SrsSource, on_chain: OnChain | None = None) -> Audit:
    return audit(path, SrsSource(srs.folder), LIMITS, on_chain=on_chain)


def differing(found: Audit) -> set[str]:
    return {check.subject for check in found.differences}


def seal(path: Path) -> None:
    """Write a manifest that fits whatever is in the folder now, as a forger would."""
    manifest = json.loads((path / files.MANIFEST).read_text())
    spec = files.spec_from(manifest["spec"])
    manifest["files"] = {file: sha256_file(path / file).hex() for file in files.files_of(spec)}
    for file, field in ((files.MODEL, "onnx"), (files.SETTINGS, "settings"), ("vk.key", "vk")):
        manifest["spec"][f"{field}_hash"] = manifest["files"][file]
    contract = json.loads((path / files.VERIFIER).read_text())
    manifest["spec"]["verifier_code_hash"] = contract["code_hash"]
    manifest["bundle_id"] = files.spec_id(files.spec_from(manifest["spec"]))
    (path / files.MANIFEST).write_text(json.dumps(manifest))


def change_weights(model: Path) -> None:
    proto = onnx.load(model)
    (weights,) = [each for each in proto.graph.initializer if each.name == "weights"]
    changed = numpy_helper.to_array(weights) + np.float32(0.5)
    weights.CopyFrom(numpy_helper.from_array(changed, "weights"))
    model.write_bytes(proto.SerializeToString(deterministic=True))


def test_audit__honest_bundle_and_chain__no_difference_and_the_unsafe_srs_named(
    bundle: Bundle, devnet_srs: SrsSource
) -> None:
    found = audited(bundle.path, devnet_srs, registered(bundle))
    assert found.differences == ()
    assert found.bundle_id == bundle.bundle_id
    assert found.srs_unsafe
    subjects = {check.subject for check in found.checks}
    assert {
        *files.files_of(bundle.spec),
        "verifying key made again, one row",
        "verifier code hash made again, 2 rows",
        "vk_hash, model 7 on chain 31337",
        "circuit for 2 rows, model 7 on chain 31337",
        "code at 0x02, 2 rows",
        "set-up, model 7 on chain 31337",
    } <= subjects


def registered(bundle: Bundle, **changes: object) -> OnChain:
    """What an honest publisher's registration says."""
    spec = dataclasses.replace(bundle.spec, **changes)
    model = RegisteredModel(7, spec, "0x01", 1, "0x03", 0, True, batch_verifiers=("0x02",))
    hashes = [bundle.spec.verifier_code_hash, bundle.spec.batches[0].verifier_code_hash]
    return OnChain(31337, model, tuple(hashes), trust=ONE_PARTY, checker_hash=None)


def test_audit__chain_says_something_else__each_field_and_contract_named(
    bundle: Bundle, devnet_srs: SrsSource
) -> None:
    (batch,) = bundle.spec.batches
    on_chain = registered(
        bundle,
        onnx_hash=bytes(32),
        input=dataclasses.replace(bundle.spec.input, scale=9),
        batches=(dataclasses.replace(batch, vk_hash=bytes(32)),),
    )
    hashes = (bytes(32), on_chain.code_hashes[1])
    on_chain = dataclasses.replace(on_chain, code_hashes=hashes, trust=CEREMONY)
    model = dataclasses.replace(
        on_chain.model, input_kind=InputKind.COMMITMENT, systems=(ProofSystem.GROTH16,) * 2
    )
    on_chain = dataclasses.replace(on_chain, model=model)
    assert differing(audited(bundle.path, devnet_srs, on_chain)) == {
        "onnx_hash, model 7 on chain 31337",
        "input, model 7 on chain 31337",
        "circuit for 2 rows, model 7 on chain 31337",
        "code at 0x01, one row",
        "set-up, model 7 on chain 31337",
        "proof system, model 7 on chain 31337",
        "kind of input, model 7 on chain 31337",
    }


def test_audit__chain_lacks_a_batch_size__named(bundle: Bundle, devnet_srs: SrsSource) -> None:
    full = registered(bundle, batches=())
    model = dataclasses.replace(full.model, batch_verifiers=())
    on_chain = OnChain(1, model, full.code_hashes[:1], trust=ONE_PARTY, checker_hash=None)
    assert differing(audited(bundle.path, devnet_srs, on_chain)) == {
        "circuit for 2 rows, model 7 on chain 1"
    }


def test_audit__input_ranges__are_compared_and_so_is_the_code_that_holds_them(
    other: Bundle, devnet_srs: SrsSource, tmp_path: Path
) -> None:
    """A checker of unknown code is read as one without ranges, whatever it says of itself."""
    row = (other.spec.input.minimum, other.spec.input.maximum)
    ours, theirs = (row, (0, 1)), (row, (0, 2))
    copy = ranged(other, tmp_path / "ranged", ours)

    def on_chain(ranges: tensor.Ranges, code: bytes | None) -> OnChain:
        spec = dataclasses.replace(copy.spec, input_ranges=ranges)
        model = RegisteredModel(7, spec, "0x01", 1, "0x03", 0, True)
        checker = None if code is None else keccak(code)
        return OnChain(31337, model, (spec.verifier_code_hash,), ONE_PARTY, checker)

    subjects = {"input_ranges", "code of the input checker"}
    both = {f"{subject}, model 7 on chain 31337" for subject in subjects}
    code = "code of the input checker, model 7 on chain 31337"
    for chains, expected in (
        (on_chain(ours, deployed_code(ours)), set()),
        (on_chain(theirs, deployed_code(theirs)), both),
        (on_chain((), b"a lie"), both),
        (on_chain((), None), both),
    ):
        assert differing(audited(copy.path, devnet_srs, chains)) == expected
    assert differing(audited(other.path, devnet_srs, on_chain((), b"a lie"))) == {code}


@pytest.mark.parametrize("file", files.FILES)
def test_audit__file_edited__named(single: Path, devnet_srs: SrsSource, file: str) -> None:
    content = bytearray((single / file).read_bytes())
    content[len(content) // 2] ^= 1
    (single / file).write_bytes(content)
    assert file in differing(audited(single, devnet_srs))


def test_audit__files_missing__named(single: Path, devnet_srs: SrsSource) -> None:
    for file in files.FILES:
        (single / file).unlink()
    found = audited(single, devnet_srs)
    assert set(files.FILES) < differing(found)


def accept_all(path: Path, other: Path) -> None:
    unit = compile_solidity(
        {"Verifier.sol": ACCEPTS_ALL}, version=SOLC_VERIFIERS, runs=1, evm_version="shanghai"
    )["Verifier.sol"]["Halo2Verifier"]
    (path / files.SOLIDITY).write_text(ACCEPTS_ALL)
    contract = {
        "abi": unit["abi"],
        "bytecode": unit["evm"]["bytecode"]["object"],
        "code_hash": "ab" * 32,
    }
    (path / files.VERIFIER).write_text(json.dumps(contract))


def swap_keys(path: Path, other: Path) -> None:
    for file in (files.VERIFYING_KEY, files.PROVING_KEY):
        shutil.copy(other / file, path / file)


def swap_model(path: Path, other: Path) -> None:
    change_weights(path / files.MODEL)


def free_weights(path: Path, other: Path) -> None:
    settings = json.loads((path / files.SETTINGS).read_text())
    settings["run_args"]["param_visibility"] = "Private"
    (path / files.SETTINGS).write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("forge", "named"),
    [
        (accept_all, {"verifier source", "verifier to deploy", "verifier code hash"}),
        (swap_keys, {"verifying key", "proving key"}),
        (swap_model, {"verifying key", "proving key", "verifier source", "verifier code hash"}),
    ],
)
def test_audit__forged_and_sealed_again__found_by_making_it_again(
    single: Path,
    bundle: Bundle,
    devnet_srs: SrsSource,
    forge: Callable[[Path, Path], None],
    named: set[str],
) -> None:
    forge(single, bundle.path)
    seal(single)
    found = differing(audited(single, devnet_srs))
    assert {f"{subject} made again, one row" for subject in named} <= found
    assert not found & set(files.FILES)


def test_audit__devnets_circuit_under_the_ceremonys_hash__key_and_verifier_are_others(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a publisher would register who wants a devnet's model on a chain with value."""
    logrows = json.loads((single / files.SETTINGS).read_text())["run_args"]["logrows"]
    # Another one stands for the ceremony's, which is not at hand.
    sandbox = Sandbox(LIMITS, toolchain().ezkl_home)
    string = SrsSource(tmp_path / "srs", unsafe=True).get(logrows, sandbox)
    string.path.rename(string.path.with_name(f"kzg{logrows}.srs"))
    for module in (srs, audit_module):
        monkeypatch.setattr(module, "ceremony_pins", lambda: {logrows: string.sha256})
    manifest = json.loads((single / files.MANIFEST).read_text())
    manifest["spec"]["srs_hash"] = string.sha256.hex()
    (single / files.MANIFEST).write_text(json.dumps(manifest))
    seal(single)
    found = audit(single, SrsSource(tmp_path / "srs"), LIMITS)
    assert not found.srs_unsafe
    assert {
        "verifying key made again, one row",
        "verifier code hash made again, one row",
    } <= differing(found)


def test_audit__settings_that_free_the_weights__named(single: Path, devnet_srs: SrsSource) -> None:
    free_weights(single, single)
    seal(single)
    assert "param_visibility, one row" in differing(audited(single, devnet_srs))


def test_audit__promised_scale_is_not_the_circuits__named(
    single: Path, devnet_srs: SrsSource
) -> None:
    manifest = json.loads((single / files.MANIFEST).read_text())
    manifest["spec"]["output"]["scale"] += 1
    (single / files.MANIFEST).write_text(json.dumps(manifest))
    seal(single)
    assert differing(audited(single, devnet_srs)) == {"scales of input and output, one row"}


def test_audit__batch_of_another_model__named(copied: Path, devnet_srs: SrsSource) -> None:
    change_weights(copied / "batch2" / files.MODEL)
    seal(copied)
    found = differing(audited(copied, devnet_srs))
    assert "the model, 2 rows" in found
    assert "verifying key made again, 2 rows" in found
    assert not any("one row" in subject for subject in found)


def test_audit__publishers_file__makes_the_proved_model_and_another_file_does_not(
    bundle: Bundle, devnet_srs: SrsSource, tmp_path: Path
) -> None:
    def from_file(path: Path) -> set[str]:
        srs = SrsSource(devnet_srs.folder)
        return differing(audit(bundle.path, srs, LIMITS, source=path))

    assert from_file(saved(linear(), tmp_path)) == set()
    assert from_file(saved(linear("Identity"), tmp_path)) == {
        "the publisher's file",
        "model.onnx made again from it",
    }


def promised(path: Path, **changes: object) -> None:
    """A manifest that promises something else, and a card that says the same."""
    manifest = json.loads((path / files.MANIFEST).read_text())
    for place, value in changes.items():
        *parents, last = place.split("__")
        target = manifest
        for key in parents:
            target = target[key]
        target[last] = value
    write_card(path, manifest)
    (path / files.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("ranges", [[[-100.0, 100.0]] * 2, [[-0.5, 0.5]] * 2])
def test_audit__ranges_that_no_contract_holds__named(
    single: Path, devnet_srs: SrsSource, ranges: list[list[float]]
) -> None:
    promised(single, promise__ranges=ranges)
    assert differing(audited(single, devnet_srs)) == {"ranges of the promise"}
    with pytest.raises(BundleInvalid, match="other ranges"):
        Bundle.load(single, devnet_srs.folder)


def test_audit__bound_that_somebody_wrote_himself__broken_on_the_publishers_file(
    devnet_srs: SrsSource, tmp_path: Path
) -> None:
    # A curve is never exact.
    honest = built(tmp_path, devnet_srs, activation="Sigmoid")
    source = saved(linear("Sigmoid"), tmp_path)
    single = Path(shutil.copytree(honest.path, tmp_path / "copy"))
    unknown = {"certified": 0.0, "measured": 0.0, "rounding": 0.0, "rounded": 16, "rows": 9}
    promised(single, origin__max_error=1e-9, error=unknown)
    assert differing(audited(single, devnet_srs)) == set()
    found = audit(single, SrsSource(devnet_srs.folder), LIMITS, source=source)
    (difference,) = found.differences
    assert difference.subject.endswith("of the promised ranges: over 1e-09")
    again = audit(honest.path, SrsSource(devnet_srs.folder), LIMITS, source=source)
    assert again.differences == ()


def test_audit__card_that_says_something_else__named(single: Path, devnet_srs: SrsSource) -> None:
    text = (single / files.CARD).read_text()
    (single / files.CARD).write_text(text.replace("0.1", "0.0001"))
    seal(single)
    assert differing(audited(single, devnet_srs)) == {"card.md made again"}


def test_audit__error_beyond_the_bound__named(single: Path, devnet_srs: SrsSource) -> None:
    promised(single, error__measured=0.2)
    assert differing(audited(single, devnet_srs)) == {"measured error"}


def test_audit__no_bundle__says_so(tmp_path: Path, devnet_srs: SrsSource) -> None:
    with pytest.raises(BundleInvalid, match="No such file"):
        audited(tmp_path, devnet_srs)


def test_audit__manifest_without_a_specification__invalid(
    single: Path, devnet_srs: SrsSource
) -> None:
    manifest = json.loads((single / files.MANIFEST).read_text())
    del manifest["spec"]
    (single / files.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleInvalid, match=r"manifest\.json lacks spec"):
        audited(single, devnet_srs)


def test_audit__srs_not_in_the_folder__mismatch(single: Path, tmp_path: Path) -> None:
    with pytest.raises(SrsMismatch):
        audit(single, SrsSource(tmp_path), LIMITS)
