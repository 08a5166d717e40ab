"""``oracle model``: what a publisher types and reads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from eth_account import Account
from onnx import TensorProto, helper
from rich.console import Console
from typer.testing import CliRunner, Result

from oracle.chain.deployments import load
from oracle.chain.input_ranges import deployed_code, ranges_in
from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource
from oracle.cli.model import _show, app
from oracle.deployer import deploy as deploy_contracts
from oracle.deployer import deploy_model
from oracle.devnet import CHAIN_ID, Anvil, Deployed, deploy, fund_new_key
from oracle.errors import (
    AccountUnfunded,
    AuditFailed,
    OracleError,
    SrsUnsafe,
    TensorLength,
    TransactionReverted,
    UsageError,
    WrongChain,
)
from tests.circuits.makers import linear, ranged, saved


def oracle_model(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``model.onnx`` and ``samples.csv``."""
    made = tmp_path_factory.mktemp("publisher")
    saved(linear("Identity"), made)
    samples = np.random.default_rng(1).uniform(-1, 1, size=(16, 2))
    np.savetxt(made / "samples.csv", samples, delimiter=",")
    return made


@pytest.fixture(scope="module")
def summary(folder: Path) -> dict:
    """What ``build --json`` prints of a bundle for one row and for two, labels only."""
    result = oracle_model(
        *("build", folder / "model.onnx", "--samples", folder / "samples.csv"),
        *("--out", folder / "bundle", "--batch", "2,1", "--reveal", "top1", "--codec", "text"),
        *("--optimize", "gas", "--max-error", "0.05", "--name", "argmax"),
        *("--unsafe-devnet-srs", "--json"),
    )
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def chain(
    summary: dict, devnet_srs: SrsSource, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Anvil, Deployed]]:
    bundle = Bundle.load(Path(summary["path"]), devnet_srs.folder)
    with Anvil(tmp_path_factory.mktemp("anvil") / "anvil.log") as anvil:
        yield anvil, deploy(anvil.w3, bundle, "PredictionConsumer")


def test_build__json__the_bundle_that_was_asked_for(
    summary: dict, folder: Path, devnet_srs: SrsSource
) -> None:
    bundle = Bundle.load(folder / "bundle", devnet_srs.folder)
    assert summary["bundle_id"] == bundle.bundle_id
    assert summary["name"] == "argmax"
    assert list(summary["measures"]) == ["1", "2"]
    assert summary["measures"]["1"]["verify_gas"] == bundle.measures.verify_gas
    assert summary["measures"]["1"]["srs_unsafe"] is True
    assert bundle.spec.output.length == 1
    assert bundle.spec.codec == 1


def test_list__shows_bundles_and_what_is_broken(summary: dict, folder: Path) -> None:
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "manifest.json").write_text("{")
    text = oracle_model("list", folder)
    assert text.exit_code == 0, text.exception
    assert "argmax" in text.output
    broken, good = json.loads(oracle_model("list", folder, "--json").stdout)
    assert "is not JSON" in broken["error"]
    assert good["batches"] == [1, 2]
    assert good["bundle_id"] == summary["bundle_id"]
    assert good["srs_unsafe"] is True


def test_list__manifest_that_calls_its_srs_safe__is_not_believed(
    summary: dict, tmp_path: Path
) -> None:
    manifest = json.loads((Path(summary["path"]) / "manifest.json").read_text())
    for measures in manifest["measures"]:
        measures["srs_unsafe"] = False
    (tmp_path / "lying").mkdir()
    (tmp_path / "lying" / "manifest.json").write_text(json.dumps(manifest))
    (entry,) = json.loads(oracle_model("list", tmp_path, "--json").stdout)
    assert entry["srs_unsafe"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "choose where the SRS comes from"),
        (("--unsafe-devnet-srs", "--srs", "."), "choose where the SRS comes from"),
        (("--unsafe-devnet-srs", "--batch", "1,x"), "--batch 1,x is not a list of sizes"),
        (("--unsafe-devnet-srs", "--batch", "0"), "--batch 0 is not a list of sizes"),
        (("--unsafe-devnet-srs", "--reveal", "most"), "'most' is no reveal policy"),
        (("--unsafe-devnet-srs", "--reveal", "topk:3"), "needs 3 scores, the model has 2"),
        (("--unsafe-devnet-srs", "--codec", "json"), "--codec json is unknown"),
        (("--unsafe-devnet-srs", "--dim", "batch"), "--dim batch sets no dimension"),
        (("--unsafe-devnet-srs", "--dim", "n=0"), "--dim n=0 sets no dimension"),
        (("--unsafe-devnet-srs", "--samples", "none.npy"), "cannot read samples"),
    ],
)
def test_build__wrong_option__one_line_before_any_work(
    folder: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = oracle_model(
        *("build", folder / "model.onnx", "--samples", folder / "samples.csv"),
        *("--out", tmp_path / "bundle", *options),
    )
    assert isinstance(result.exception, UsageError), result.output
    assert message in result.exception.message
    assert "\n" not in result.exception.line()
    assert not list(tmp_path.iterdir())


def test_build__samples_of_any_shape__are_rows(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", np.zeros((8, 1, 2, 3)))
    result = oracle_model(
        *("build", folder / "model.onnx", "--samples", tmp_path / "images.npz"),
        *("--out", tmp_path / "bundle", "--unsafe-devnet-srs"),
    )
    assert isinstance(result.exception, TensorLength), result.output
    assert "the samples have shape [8, 6]" in result.exception.message


def test_build__array_for_each_input__rows_in_the_models_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publisher 17: they were refused, by a line that asked for .npz."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("right→in", 1), ("left in", 2), ("y", 3))
    ]
    node = helper.make_node("Concat", ["right→in", "left in"], ["y"], axis=1)
    graph = helper.make_graph([node], "two", values[:2], values[2:])
    opsets = [helper.make_opsetid("", 17)]
    model = saved(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path)
    left, right = np.arange(16.0).reshape(8, 2), np.full(8, -1.0)
    np.savez(tmp_path / "samples.npz", **{"left in": left, "right→in": right})
    taken: list[np.ndarray] = []

    def build(_: Path, rows: np.ndarray, **__: object) -> None:
        taken.append(rows)
        raise UsageError("enough")

    monkeypatch.setattr("oracle.cli.model.build_bundle", build)
    words = ("build", model, "--samples", tmp_path / "samples.npz", "--out", tmp_path / "bundle")
    assert "enough" in str(oracle_model(*words, "--unsafe-devnet-srs").exception)
    assert taken[0].tolist() == np.hstack([right[:, np.newaxis], left]).tolist()


def test_build__summary__shows_names_as_they_are(
    iris_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Publisher 26: of "b [red]x" it showed "b x"."""
    folder = Path("b [red]x")
    _show(Console(width=200), dataclasses.replace(iris_bundle, path=folder))
    assert "plot: b [red]x/pareto.svg" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nosuch", "file"])
def test_list__no_folder__said(tmp_path: Path, name: str) -> None:
    """Publisher 26: it was an empty table."""
    (tmp_path / "file").touch()
    result = oracle_model("list", tmp_path / name)
    assert isinstance(result.exception, UsageError)
    assert "is no folder" in result.exception.line()


def test_list__folder_without_bundles__said(tmp_path: Path) -> None:
    assert "no bundles in" in oracle_model("list", tmp_path).output
    assert json.loads(oracle_model("list", tmp_path, "--json").stdout) == []


def test_list__bundle_itself__is_listed(iris_bundle: Bundle) -> None:
    (entry,) = json.loads(oracle_model("list", iris_bundle.path, "--json").stdout)
    assert entry["bundle_id"] == iris_bundle.bundle_id


def audited(bundle: Path, anvil: Anvil, *options: object) -> Result:
    return oracle_model(
        *("audit", bundle, "--json", "--rpc", anvil.url, "--chain-id", CHAIN_ID, *options)
    )


def test_audit__bundle_as_registered__every_check_holds(
    summary: dict, chain: tuple[Anvil, Deployed]
) -> None:
    anvil, deployed = chain
    result = audited(
        Path(summary["path"]), anvil, "--model-id", 1, "--oracle", deployed.oracle.address
    )
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    assert found["ok"]
    assert found["srs_unsafe"]
    assert all(check["ok"] for check in found["checks"])
    assert any("on chain 31337" in check["subject"] for check in found["checks"])


def test_audit__another_verifier_on_chain__named_and_refused(
    summary: dict, chain: tuple[Anvil, Deployed]
) -> None:
    anvil, deployed = chain
    honest = anvil.w3.eth.get_code(deployed.verifier.address)
    code = ("anvil_setCode", [deployed.verifier.address, "0x6001"])
    anvil.w3.provider.make_request(*code)
    try:
        result = audited(
            Path(summary["path"]), anvil, "--model-id", 1, "--registry", deployed.registry.address
        )
    finally:
        anvil.w3.provider.make_request(
            "anvil_setCode", [deployed.verifier.address, honest.to_0x_hex()]
        )
    assert isinstance(result.exception, AuditFailed), result.output
    subject = f"code at {deployed.verifier.address}, one row"
    assert subject in result.exception.line()
    found = json.loads(result.stdout)
    assert [check["subject"] for check in found["checks"] if not check["ok"]] == [subject]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model-id", 2, "--oracle", "{oracle}"), "the registry has no model 2"),
        (("--model-id", 1), "no deployment is recorded for chain 31337"),
        (
            ("--model-id", 1, "--oracle", "{oracle}", "--registry", "{oracle}"),
            "the chain's model cannot be found",
        ),
        (("--model-id", 1, "--oracle", "0x12"), "not an Ethereum address"),
        (("--oracle", "{oracle}"), "no model to compare with"),
    ],
)
def test_audit__chain_named_badly__one_line(
    summary: dict,
    chain: tuple[Anvil, Deployed],
    options: tuple[object, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path))
    anvil, deployed = chain
    filled = [str(option).format(oracle=deployed.oracle.address) for option in options]
    result = audited(Path(summary["path"]), anvil, *filled)
    assert isinstance(result.exception, OracleError), result.output
    assert message in result.exception.message


def registered(bundle: Path, anvil: Anvil, deployed: Deployed, *options: object) -> Result:
    return oracle_model(
        *("register", bundle, "--rpc", anvil.url, "--chain-id", CHAIN_ID),
        *("--oracle", deployed.oracle.address, *options, "--json"),
    )


@pytest.fixture
def key(chain: tuple[Anvil, Deployed], tmp_path: Path) -> Path:
    """A publisher with ten ether."""
    fund_new_key(chain[0].w3, tmp_path / "publisher.key", 10**19)
    return tmp_path / "publisher.key"


def test_register__bundle__a_model_with_every_verifier_that_an_audit_passes(
    summary: dict, chain: tuple[Anvil, Deployed], key: Path
) -> None:
    anvil, deployed = chain
    bundle = Path(summary["path"])
    result = registered(
        bundle, anvil, deployed, "--key-file", key, "--fee", 7, "--receiver-bps", 100
    )
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    model = deployed.registry.functions.getModel(found["model_id"]).call()
    assert [verifier[0] for verifier in model[-1]] == found["verifiers"]
    assert len(found["verifiers"]) == 2
    assert model[9] == 7
    audit = audited(
        *(bundle, anvil, "--model-id", found["model_id"], "--oracle", deployed.oracle.address)
    )
    assert audit.exit_code == 0, audit.exception


def test_register__bundle_with_input_ranges__their_checker_too_which_an_audit_reads(
    summary: dict, chain: tuple[Anvil, Deployed], key: Path, devnet_srs: SrsSource, tmp_path: Path
) -> None:
    anvil, deployed = chain
    plain = Bundle.load(Path(summary["path"]), devnet_srs.folder)
    row = (plain.spec.input.minimum, plain.spec.input.maximum)
    bundle = ranged(plain, tmp_path / "ranged", (row, (-1, 1))).path
    result = registered(bundle, anvil, deployed, "--key-file", key)
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    model = deployed.registry.functions.getModel(found["model_id"]).call()
    assert model[7] == found["input_checker"]
    code = anvil.w3.eth.get_code(model[7])
    assert ranges_in(bytes(code)) == (row, (-1, 1))
    where = ("--model-id", found["model_id"], "--oracle", deployed.oracle.address)
    audit = audited(bundle, anvil, *where)
    assert audit.exit_code == 0, audit.exception
    other = audited(plain.path, anvil, *where)
    assert isinstance(other.exception, AuditFailed)
    assert "input_ranges" in other.exception.line()
    # Other ranges, with the very logic.
    changed = deployed_code((row, (-1, 2)))
    anvil.w3.provider.make_request("anvil_setCode", [model[7], "0x" + changed.hex()])
    audit = audited(bundle, anvil, *where)
    assert isinstance(audit.exception, AuditFailed)
    differ = {c["subject"].split(",")[0] for c in json.loads(audit.stdout)["checks"] if not c["ok"]}
    assert differ == {"input_ranges", "code of the input checker"}


def test_register__oracle_left_out__is_the_recorded_one_and_the_model_is_recorded(
    summary: dict,
    chain: tuple[Anvil, Deployed],
    key: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path / "deployments"))
    anvil, _ = chain
    bundle = Path(summary["path"])
    deploy_contracts(Rpc([anvil.url], CHAIN_ID), LocalSigner.from_key_file(key))
    on_chain = ("--rpc", anvil.url, "--chain-id", CHAIN_ID)
    result = oracle_model("register", bundle, *on_chain, "--key-file", key, "--json")
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    (recorded,) = load(CHAIN_ID).models
    assert recorded.model_id == found["model_id"] == 1
    assert recorded.bundle == summary["bundle_id"]
    assert recorded.verifier == found["verifiers"][0]
    audit = audited(bundle, anvil, "--model-id", 1)
    assert audit.exit_code == 0, audit.exception


def test_deploy_model__interrupted_and_run_again__registers_once(
    summary: dict, chain: tuple[Anvil, Deployed], key: Path, tmp_path: Path
) -> None:
    anvil, _ = chain
    rpc, signer = Rpc([anvil.url], CHAIN_ID), LocalSigner.from_key_file(key)
    folder = tmp_path / "deployments"
    deploy_contracts(rpc, signer, folder=folder)
    bundle = Bundle.load(Path(summary["path"]))

    class Killed(BaseException): ...

    def die_at_the_end(step: str) -> None:
        if step == "registering the model":
            raise Killed

    with pytest.raises(Killed):
        deploy_model(
            *(rpc, signer, bundle),
            fee=7,
            receiver_bps=0,
            folder=folder,
            progress=die_at_the_end,
        )
    assert rpc.nonce(signer.address) == 3 + 2
    for _ in range(2):
        made = deploy_model(rpc, signer, bundle, fee=7, receiver_bps=0, folder=folder)
        assert load(CHAIN_ID, folder).models == (made,)
        assert rpc.nonce(signer.address) == 3 + 2 + 1
    assert load(CHAIN_ID, folder).versions["ezkl"]


def test_register__keystore__decrypted_with_its_password(
    summary: dict, chain: tuple[Anvil, Deployed], key: Path, tmp_path: Path
) -> None:
    anvil, deployed = chain
    keystore, password = tmp_path / "keystore.json", tmp_path / "password"
    for path in (keystore, password):
        path.touch(mode=0o600)
    password.write_text("secret\n")
    secret = key.read_text().strip()
    keystore.write_text(json.dumps(Account.encrypt(secret, "secret", iterations=1)))
    result = registered(
        *(Path(summary["path"]), anvil, deployed, "--keystore", keystore),
        *("--password-file", password),
    )
    assert result.exit_code == 0, result.exception
    publisher = deployed.registry.functions.publisherOf(json.loads(result.stdout)["model_id"])
    assert publisher.call() == Account.from_key(secret).address
    assert "secret" not in result.output


def test_register__home_made_srs_on_another_chain__refused_and_nothing_sent(
    summary: dict, chain: tuple[Anvil, Deployed], key: Path
) -> None:
    anvil, deployed = chain
    before = anvil.w3.eth.block_number
    for chain_id, error in ((1, SrsUnsafe), (1337, WrongChain)):
        result = registered(
            *(Path(summary["path"]), anvil, deployed),
            *("--key-file", key, "--chain-id", chain_id),
        )
        assert isinstance(result.exception, error), result.output
    assert anvil.w3.eth.block_number == before


def test_register__account_without_money__nothing_sent(
    summary: dict, chain: tuple[Anvil, Deployed], tmp_path: Path
) -> None:
    anvil, deployed = chain
    fund_new_key(anvil.w3, tmp_path / "poor.key", 10)
    result = registered(Path(summary["path"]), anvil, deployed, "--key-file", tmp_path / "poor.key")
    assert isinstance(result.exception, AccountUnfunded), result.output


def test_register__registry_refuses__its_reason_is_shown(
    summary: dict, chain: tuple[Anvil, Deployed], key: Path
) -> None:
    anvil, deployed = chain
    result = registered(
        *(Path(summary["path"]), anvil, deployed, "--key-file", key),
        *("--receiver", "0x" + "00" * 20, "--receiver-bps", 100),
    )
    assert isinstance(result.exception, TransactionReverted), result.output
    assert "InvalidModel" in result.exception.line()


def test_register__no_account__usage_error(summary: dict, chain: tuple[Anvil, Deployed]) -> None:
    result = registered(Path(summary["path"]), *chain)
    assert isinstance(result.exception, UsageError)
    assert "--keystore" in result.exception.line()
