"""``oracle node check`` and ``status``: what an operator sees."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from oracle import checks, demo
from oracle.chain.codec import ContractAbi
from oracle.chain.rpc import HttpTransport
from oracle.circuits.bundle import Bundle
from oracle.cli.node import app
from oracle.config import load_node_config
from oracle.devnet import CHAIN_ID, Anvil, Deployed, deploy
from oracle.errors import OracleError
from oracle.log import request_hex
from oracle.store.ledger import Store
from oracle.store.records import Trouble
from oracle.store.states import RequestState
from tests.providers import ANSWERS, Provider, serving
from tests.store.makers import make_request

OTHER = "0x" + "99" * 20


@pytest.fixture(scope="module")
def chain(
    iris_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Anvil, Deployed]]:
    with Anvil(tmp_path_factory.mktemp("anvil") / "anvil.log") as anvil:
        yield anvil, deploy(anvil.w3, iris_bundle, "PredictionConsumer")


@pytest.fixture
def config(tmp_path: Path, chain: tuple[Anvil, Deployed], iris_bundle: Bundle) -> Path:
    return demo.write_node_config(tmp_path, *chain, iris_bundle)


def test_devnet__a_bundle_named_from_where_one_stands__found_from_anywhere(
    tmp_path: Path,
    chain: tuple[Any, ...],
    iris_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(iris_bundle.path.parent)
    named = dataclasses.replace(iris_bundle, path=Path(iris_bundle.path.name))
    config = demo.write_node_config(tmp_path, *chain, named)
    monkeypatch.chdir(tmp_path)
    assert load_node_config(config).bundles == (iris_bundle.path.resolve(),)


@pytest.fixture
def refused(config: Path) -> Callable[[str, str], OracleError]:
    """Change one setting and return what ``check`` finds."""

    def check(field: str, value: str) -> OracleError:
        text = re.sub(rf"(?m)^{field} = .*\n", "", config.read_text())
        config.write_text(f"{field} = {value}\n{text}")
        result = CliRunner().invoke(app, ["check", "--config", str(config), "--no-trial-proof"])
        assert isinstance(result.exception, OracleError), result.output
        assert "\n" not in result.exception.line()
        return result.exception

    return check


def test_check__all_right__says_what_was_found(config: Path, chain: tuple[Anvil, Deployed]) -> None:
    # By a chain that rests the clock cannot be judged.
    chain[0].w3.provider.make_request("evm_mine", [])
    result = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert result.exit_code == 0, result.exception
    subjects = [line.split()[1] for line in result.output.splitlines()]
    assert subjects == [
        *(
            "rpc",
            "clock",
            "chain",
            "oracle",
            "registry",
            "account",
            "store",
            "disk",
            "model",
            "proof",
            "memory",
        )
    ]
    assert all(line.startswith("ok ") for line in result.output.splitlines())
    assert ", accepted by 0x" in result.output
    assert "iris is model 1 (rows in a proof: 1; unsafe SRS)" in result.output


@pytest.mark.parametrize(
    ("field", "value", "code", "words"),
    [
        ("rpc_urls", '["http://127.0.0.1:1"]', "RPC_UNREACHABLE", "127.0.0.1:1"),
        ("chain_id", "1", "WRONG_CHAIN", "31337"),
        ("oracle", f'"{OTHER}"', "CONTRACT_MISMATCH", "no contract"),
        ("min_balance", str(10**30), "ACCOUNT_UNFUNDED", "Send at least"),
        ("bundles", '["nowhere"]', "BUNDLE_INVALID", "nowhere"),
        ("key_file", '"nowhere"', "CONFIG", "nowhere"),
        ("min_disk_bytes", str(2**60), "CONFIG", "min_disk_bytes"),
        ("min_memory_bytes", str(2**60), "CONFIG", "min_memory_bytes"),
        ("workers", "9000", "CONFIG", "Lower workers"),
        ("store", '"/proc/none/node.db"', "CONFIG", "Correct store"),
        ("work_dir", '"/proc/jobs"', "CONFIG", "work_dir"),
    ],
)
def test_check__something_wrong__is_one_line_with_its_code(
    refused: Callable[[str, str], OracleError], field: str, value: str, code: str, words: str
) -> None:
    error = refused(field, value)
    assert error.code == code
    assert words in error.line()


def test_check__address_of_another_contract__is_a_mismatch(
    refused: Callable[[str, str], OracleError], chain: tuple[Anvil, Deployed]
) -> None:
    error = refused("oracle", f'"{chain[1].registry.address}"')
    assert error.code == "CONTRACT_MISMATCH"
    assert "not an inference oracle" in error.line()


def test_check__devnet_bundle_on_another_chain__is_refused(
    refused: Callable[[str, str], OracleError], chain: tuple[Anvil, Deployed]
) -> None:
    provider = chain[0].w3.provider
    provider.make_request("anvil_setChainId", [424242])
    try:
        error = refused("chain_id", "424242")
    finally:
        provider.make_request("anvil_setChainId", [CHAIN_ID])
    assert error.code == "SRS_UNSAFE"
    assert "424242" in error.line()


def findings(config: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    command = ["check", "--config", str(config), "--json", "--no-trial-proof", *options]
    result = CliRunner().invoke(app, command)
    report = json.loads(result.output)
    assert report["ok"] == (result.exit_code == 0)
    return result.exit_code, report["findings"]


def test_check__json__has_every_finding_with_its_remedy(config: Path) -> None:
    config.write_text(config.read_text() + f"min_balance = {10**30}\n")
    code, found = findings(config)
    assert code == 6
    (wrong,) = [finding for finding in found if not finding["ok"]]
    assert (wrong["subject"], wrong["code"]) == ("account", "ACCOUNT_UNFUNDED")
    assert "Send at least" in wrong["remedy"]


def test_check__second_endpoint_is_down__is_found_though_the_first_answers(config: Path) -> None:
    text = config.read_text()
    config.write_text(
        re.sub(r'rpc_urls = \["(.*)"\]', r'rpc_urls = ["\1", "http://127.0.0.1:1"]', text)
    )
    code, found = findings(config)
    assert code == 6
    assert [finding["ok"] for finding in found if finding["subject"] == "rpc"] == [True, False]
    # All that the first one can tell is told.
    assert [f["subject"] for f in found if not f["ok"]] == ["rpc"]
    assert "model" in {finding["subject"] for finding in found}


def test_check__no_endpoint__still_looks_at_this_machine(config: Path) -> None:
    config.write_text(
        re.sub(r"rpc_urls = .*", 'rpc_urls = ["http://127.0.0.1:1"]', config.read_text())
    )
    _, found = findings(config)
    fine = {finding["subject"] for finding in found if finding["ok"]}
    assert fine == {"account", "store", "disk", "model", "memory"}


def test_check__endpoint_far_behind_the_others__is_found(
    config: Path, chain: tuple[Anvil, Deployed], tmp_path: Path
) -> None:
    with Anvil(tmp_path / "late.log") as late:
        anvil = chain[0]
        anvil.w3.provider.make_request("anvil_mine", [30])
        urls = json.dumps([anvil.url, late.url])
        config.write_text(re.sub(r"rpc_urls = .*", f"rpc_urls = {urls}", config.read_text()))
        _, found = findings(config)
    assert "blocks behind the other" in found[1]["detail"]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("range", "blocks in a log query (of the "),
        ("fees", "has no fee history, its gas price is used"),
        ("state", "missing trie node"),
        ("reads", "Must be authenticated!"),
    ],
)
def test_check__each_endpoint__is_asked_all_that_a_node_asks(
    config: Path, chain: tuple[Anvil, Deployed], when: str, said: str
) -> None:
    """Operators' D1, D4 and D12: all of them were ok to a check that asked for the head only."""
    url = chain[0].url
    chain[0].w3.provider.make_request("anvil_mine", [8])
    told = {"state": said, "reads": said}.get(when, "")
    answer = next(each for each in ANSWERS if each.when == when and told in each.message)
    with serving(Provider(HttpTransport(url, 10), answer)) as spare:
        urls = json.dumps([url, spare])
        config.write_text(re.sub(r"rpc_urls = .*", f"rpc_urls = {urls}", config.read_text()))
        _, found = findings(config)
    first, second = (finding for finding in found if finding["subject"] == "rpc")
    assert first["ok"]
    assert "has a fee history" in first["detail"]
    assert said in second["detail"]
    assert second["ok"] == (when in ("range", "fees"))
    assert "the-api-key" not in json.dumps(found)


def test_check__contract_of_another_version__names_what_it_lacks(
    config: Path, chain: tuple[Anvil, Deployed]
) -> None:
    anvil, deployed = chain
    address = deployed.oracle.address
    code = anvil.w3.eth.get_code(address)
    selector = ContractAbi.of("InferenceOracle").selector("fulfillBatch").hex()
    other = code.hex().replace(selector, "deadbeef")
    anvil.w3.provider.make_request("anvil_setCode", [address, "0x" + other.removeprefix("0x")])
    try:
        _, found = findings(config)
    finally:
        anvil.w3.provider.make_request(
            "anvil_setCode", [address, "0x" + code.hex().removeprefix("0x")]
        )
    (wrong,) = [finding for finding in found if not finding["ok"]]
    assert wrong["code"] == "CONTRACT_MISMATCH"
    assert "lacks fulfillBatch(" in wrong["detail"]


def test_check__verifier_on_chain_rejects__the_trial_proof_tells(
    config: Path, chain: tuple[Anvil, Deployed], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = chain[1].consumer.address
    trial = checks.trial
    monkeypatch.setattr(checks, "trial", lambda m, c, rpc, _: trial(m, c, rpc, other))
    result = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert isinstance(result.exception, OracleError)
    assert result.exception.code == "PROOF_INVALID"


def test_status__node_never_started__says_so(config: Path) -> None:
    result = CliRunner().invoke(app, ["status", "--config", str(config)])
    assert isinstance(result.exception, OracleError)
    assert "Start the node once" in result.exception.line()


def test_status__beside_a_running_node__counts_and_lists_with_reasons(config: Path) -> None:
    settings = load_node_config(config)
    store = Store.open(settings.store, settings.chain_id, settings.oracle, lambda: 1000.0)
    store.start_cursor(4, 10)
    store.set_head(9, 1000, 1)
    for request_id in (1, 2):
        store.add_request(make_request(request_id, log_index=request_id))
    store.move(1, RequestState.SEEN, RequestState.SKIPPED, "fee_low: pays too little")
    try:
        result = CliRunner().invoke(app, ["status", "--config", str(config), "--json"])
        text = CliRunner().invoke(app, ["status", "--config", str(config)])
    finally:
        store.close()
    report = json.loads(result.output)
    assert (report["block"], report["head"]) == (4, 9)
    assert report["requests"] == {"seen": 1, "skipped": 1}
    newest, oldest = report["last"]
    assert (newest["request_id"], newest["state"]) == (request_hex(2), "seen")
    assert oldest["reason"] == "fee_low: pays too little"
    assert "fee_low: pays too little" in text.output


def test_status__trouble__is_told_with_its_beginning(config: Path) -> None:
    """Operators' D14: "block -1 of 109", and nothing wrong, while no endpoint was of use."""
    settings = load_node_config(config)
    store = Store.open(settings.store, settings.chain_id, settings.oracle, time.time)
    store.join(name="here:1", account=OTHER, payee=OTHER, workers=1, lease=30)
    store.start_cursor(settings.start_block - 1, 10)
    detail = "eth_call on http://a: Must be authenticated!"
    store.set_troubles([Trouble("watcher", "RPC_REJECTED", detail, 1000.0)])
    try:
        unseen = CliRunner().invoke(app, ["status", "--config", str(config)])
        store.set_head(109, int(time.time()) - 500, 1)
        text = CliRunner().invoke(app, ["status", "--config", str(config)])
        result = CliRunner().invoke(app, ["status", "--config", str(config), "--json"])
        store.set_troubles([])
        well = CliRunner().invoke(app, ["status", "--config", str(config)])
    finally:
        store.close()
    assert unseen.output.startswith("the chain was not seen yet; requests: none")
    first, second = text.output.splitlines()[:2]
    assert re.match(r"nothing read yet of 109, 50\d s old; ", first)
    assert second == f"trouble since 1970-01-01T00:16:40  watcher  RPC_REJECTED: {detail}"
    report = json.loads(result.output)
    assert report["block"] is None
    assert report["head_age"] >= 500
    (trouble,) = report["troubles"]
    assert (trouble["node"], trouble["code"]) == ("here:1", "RPC_REJECTED")
    assert "trouble" not in well.output


def test_status__batch_on_its_way__says_how_many_it_is_to_answer(config: Path) -> None:
    settings = load_node_config(config)
    store = Store.open(settings.store, settings.chain_id, settings.oracle, lambda: 1000.0)
    for request_id in (1, 2):
        store.add_request(make_request(request_id, log_index=request_id))
        store.move(request_id, RequestState.SEEN, RequestState.ACCEPTED)
    store.enqueue([1, 2], "a1b2c3d4e5", "bundle", size=32, memory_bytes=1)
    store.claim_job(2000.0, 60)
    store.move(1, RequestState.RUNNING, RequestState.LOST, "fulfilled for another")
    try:
        result = CliRunner().invoke(app, ["status", "--config", str(config), "--json"])
        text = CliRunner().invoke(app, ["status", "--config", str(config)])
    finally:
        store.close()
    (batch,) = json.loads(result.output)["batches"]
    assert batch == {
        "job": "a1b2c3d4e5",
        "proof": "running",
        "error": "",
        "rows": 32,
        "requests": [request_hex(1), request_hex(2)],
        "states": {"lost": 1, "running": 1},
    }
    assert (
        "batch a1b2c3d4  proof running    2 requests in 32 rows: 1 lost, 1 running" in text.output
    )
