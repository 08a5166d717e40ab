"""Operators D3: a chain that cannot carry the contracts is refused before money moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from typer.testing import CliRunner

from oracle import demo
from oracle.chain import fork
from oracle.chain.answers import Said
from oracle.chain.artifacts import contract
from oracle.chain.deployments import deployment_path
from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.circuits.bundle import Bundle
from oracle.cli.main import app
from oracle.deployer import deploy
from oracle.devnet import CHAIN_ID, Anvil, Deployed, fund_new_key
from oracle.devnet import deploy as deploy_all
from oracle.errors import ChainError, ChainUnsuited, OracleError

ETHER = 10**18
#: What anvil says, and what Ganache, Nethermind and Erigon are known to say.
WORDS = (
    "EVM error NotActivated",
    "VM Exception while processing transaction: invalid opcode",
    "BadInstruction",
    "invalid opcode: TSTORE",
)


@pytest.fixture(scope="module")
def chain_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Anvil]]:
    with ExitStack() as stack:
        made: dict[str, Anvil] = {}

        def chain(name: str) -> Anvil:
            if name not in made:
                log = tmp_path_factory.mktemp(name) / "anvil.log"
                made[name] = stack.enter_context(Anvil(log, "--hardfork", name))
            return made[name]

        yield chain


def rpc_to(anvil: Anvil) -> Rpc:
    return Rpc([anvil.url], CHAIN_ID)


@pytest.mark.parametrize(
    ("name", "lacks", "has"),
    [
        ("london", ("PUSH0", "MCOPY", "TSTORE"), ("BASEFEE", "BN254")),
        ("paris", ("PUSH0", "MCOPY", "TSTORE"), ("BASEFEE", "BN254")),
        ("shanghai", ("MCOPY", "TSTORE"), ("PUSH0", "BASEFEE", "BN254")),
        ("berlin", ("PUSH0", "MCOPY", "TSTORE", "BASEFEE"), ("BN254",)),
    ],
)
def test_fork_before_cancun__what_it_lacks_is_named(
    chain_of: Callable[[str], Anvil], name: str, lacks: tuple[str, ...], has: tuple[str, ...]
) -> None:
    with pytest.raises(ChainUnsuited) as caught:
        fork.require(rpc_to(chain_of(name)))
    line = caught.value.line()
    assert all(each in line for each in lacks)
    assert not any(each in line for each in has)
    assert "Use a chain of the Cancun fork" in line


@pytest.mark.parametrize("name", ["cancun", "prague"])
def test_cancun_and_later__carry_the_contracts(chain_of: Callable[[str], Anvil], name: str) -> None:
    assert "Cancun" in fork.require(rpc_to(chain_of(name)))


@pytest.mark.parametrize("name", ["paris", "shanghai"])
def test_deploy__fork_before_cancun__sends_nothing_and_leaves_nothing(
    chain_of: Callable[[str], Anvil], name: str, tmp_path: Path
) -> None:
    anvil = chain_of(name)
    fund_new_key(anvil.w3, tmp_path / "key", ETHER)
    signer = LocalSigner.from_key_file(tmp_path / "key")
    with pytest.raises(ChainUnsuited):
        deploy(rpc_to(anvil), signer, folder=tmp_path / "deployments")
    assert rpc_to(anvil).nonce(signer.address) == 0
    assert not deployment_path(CHAIN_ID, tmp_path / "deployments").exists()
    assert not list((tmp_path / "deployments").rglob("*.journal"))


def test_deploy__command__is_one_line_with_its_code(
    chain_of: Callable[[str], Anvil], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anvil = chain_of("shanghai")
    fund_new_key(anvil.w3, tmp_path / "key", ETHER)
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path / "deployments"))
    result = CliRunner().invoke(
        app,
        [
            *("deploy", "--rpc", anvil.url, "--chain-id", str(CHAIN_ID)),
            *("--key-file", str(tmp_path / "key")),
        ],
    )
    assert isinstance(result.exception, OracleError)
    assert result.exception.exit_code == 6
    assert result.exception.line().startswith("CHAIN_UNSUITED: chain 31337 lacks MCOPY")


@pytest.mark.parametrize("name", ["InferenceOracle", "TextCoder"])
@pytest.mark.parametrize("chain", ["shanghai", "cancun"])
def test_constructor__runs_what_the_contract_will_need(
    chain_of: Callable[[str], Anvil], name: str, chain: str
) -> None:
    """By whatever tool they are deployed."""
    w3 = chain_of(chain).w3
    arguments = {"InferenceOracle": encode(["address"] * 2, ["0x" + "11" * 20] * 2)}
    creation = contract(name).bytecode + arguments.get(name, b"")
    sent = w3.eth.send_transaction(
        {"from": w3.eth.accounts[0], "data": creation, "gas": 12_000_000}
    )
    receipt = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
    assert receipt["status"] == (chain == "cancun")


class OldChain:
    """An endpoint in front of a chain that has no such instructions, by some words."""

    def __init__(self, words: str, code: int = -32000) -> None:
        self._error = {"code": code, "message": words}

    def send(self, method: str, params: list[Any]) -> Any:
        if method == "eth_chainId":
            return hex(CHAIN_ID)
        assert method == "eth_call"
        assert params
        raise Said("old", method, 200, self._error).error()


@pytest.mark.parametrize("words", WORDS)
def test_invalid_instruction__in_the_words_of_other_nodes__is_the_chains_answer(words: str) -> None:
    rpc = Rpc(["http://old"], CHAIN_ID, transport=lambda _url, _timeout: OldChain(words))
    with pytest.raises(ChainUnsuited):
        fork.require(rpc)


def test_endpoint_runs_no_creation_code__is_no_answer_and_said_in_its_words() -> None:
    words = "Missing or invalid parameters: to"
    rpc = Rpc(["http://old"], CHAIN_ID, transport=lambda _url, _timeout: OldChain(words, -32602))
    with pytest.raises(ChainError) as caught:
        fork.require(rpc)
    assert not isinstance(caught.value, ChainUnsuited)
    assert words in caught.value.line()


def test_check__chain_was_set_back_to_an_older_fork__fails_and_a_start_is_refused(
    chain_of: Callable[[str], Anvil], iris_bundle: Bundle, tmp_path: Path
) -> None:
    """The contracts are there, by a snapshot of a chain that could carry them."""
    new, old = chain_of("cancun"), chain_of("shanghai")
    deployed: Deployed = deploy_all(new.w3, iris_bundle, "PredictionConsumer")
    state = new.w3.provider.make_request("anvil_dumpState", [])["result"]  # type: ignore[arg-type]
    old.w3.provider.make_request("anvil_loadState", [state])  # type: ignore[arg-type]
    config = demo.write_node_config(tmp_path, old, deployed, iris_bundle)
    runner = CliRunner()
    checked = runner.invoke(app, ["node", "check", "--config", str(config), "--no-trial-proof"])
    assert isinstance(checked.exception, ChainUnsuited), checked.output
    (line,) = [line for line in checked.output.splitlines() if line.split()[1] == "chain"]
    assert line.startswith("FAIL")
    assert isinstance(
        runner.invoke(app, ["node", "run", "--config", str(config)]).exception, ChainUnsuited
    )
