"""`oracle model close` and `oracle model succeed` against the real registry on anvil."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import Result
from eth_utils.crypto import keccak
from typer.testing import CliRunner

from oracle import retiring
from oracle.chain.contracts import RegistryContract
from oracle.chain.registration import registration
from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.cli.model import app
from oracle.devnet import CHAIN_ID, Anvil, fund_new_key, transact
from oracle.errors import AccountUnfunded, TransactionReverted, UsageError

from .test_anvil import deploy
from .world import spec

#: Of anvil's second account, which everybody knows.
PUBLISHER = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
MODELS = 4


@dataclass
class Shop:
    """A publisher with four models, and somebody else with none."""

    anvil: Anvil
    registry: RegistryContract
    oracle: str
    key: Path
    other: Path

    def run(self, *words: object, key: Path | None = None) -> Result:
        place = ("--rpc", self.anvil.url, "--oracle", self.oracle, "--key-file", key or self.key)
        return CliRunner().invoke(app, list(map(str, (*words, *place))))

    def refusal(self, *words: object, key: Path | None = None) -> str:
        """The one line that a command ends with; it sends nothing."""
        before = self.anvil.w3.eth.block_number
        error = self.run(*words, key=key).exception
        assert isinstance(error, UsageError), error
        assert error.exit_code == 2
        assert self.anvil.w3.eth.block_number == before
        return error.line()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with Anvil(folder / "anvil.log") as anvil:
        w3 = anvil.w3
        registry = deploy(anvil, "ModelRegistry")
        oracle = deploy(anvil, "InferenceOracle", registry.address, w3.eth.accounts[0])
        verifier = deploy(anvil, "HashVerifier")
        code = keccak(bytes(w3.eth.get_code(verifier.address)))
        owner = w3.eth.accounts[1]
        model = replace(spec(), verifier_code_hash=code)
        terms = registration(
            model, verifiers=[verifier.address], fee=0, receiver=owner, receiver_bps=0
        )
        for _ in range(MODELS):
            transact(registry.functions.register(terms), owner)
        key = folder / "publisher.key"
        key.touch(mode=0o600)
        key.write_text(PUBLISHER)
        fund_new_key(w3, folder / "other.key", 10**18)
        read = RegistryContract(Rpc([anvil.url], CHAIN_ID), registry.address)
        yield Shop(anvil, read, oracle.address, key, folder / "other.key")


@pytest.fixture(autouse=True)
def _anew(shop: Shop) -> Iterator[None]:
    """Each test finds the models open and without successors."""
    taken = shop.anvil.w3.provider.make_request("evm_snapshot", [])["result"]  # type: ignore[arg-type]
    yield
    shop.anvil.w3.provider.make_request("evm_revert", [taken])  # type: ignore[arg-type]


def test_close__by_the_publisher__takes_no_requests_any_more(shop: Shop) -> None:
    said = json.loads(shop.run("close", 2, "--json").stdout)
    assert [shop.registry.is_open(model_id) for model_id in (1, 2, 3)] == [True, False, True]
    receipt = shop.anvil.w3.eth.get_transaction_receipt(said.pop("transaction"))
    assert said == {"model_id": 2, "successor": None, "gas_used": receipt["gasUsed"]}


def test_close__as_text__ends_with_the_command_that_names_a_successor(shop: Shop) -> None:
    first, last = shop.run("close", 1).stdout.splitlines()
    assert first.startswith("model 1 is closed; ")
    words = shlex.split(last.partition(": ")[2])
    assert words[:5] == ["oracle", "model", "succeed", "1", "NEW"]
    done = shop.run(*[word.replace("NEW", "4") for word in words[2:5]])
    assert done.stdout.startswith("model 4 is the successor of model 1; ")
    assert "takes requests" not in done.stdout
    assert words[5:] == [
        *("--rpc", shop.anvil.url, "--oracle", shop.oracle, "--key-file", str(shop.key))
    ]


def test_succeed__of_an_open_model__names_it_and_closes_neither(shop: Shop) -> None:
    said = json.loads(shop.run("succeed", 1, 3, "--json").stdout)
    assert (shop.registry.successor(1), shop.registry.successor(2)) == (3, None)
    assert (shop.registry.is_open(1), shop.registry.is_open(3)) == (True, True)
    del said["transaction"], said["gas_used"]
    assert said == {"model_id": 1, "successor": 3, "is_open": True}


@pytest.mark.parametrize("words", [("close", 1), ("succeed", 1, 2)])
def test_retire__another_account__says_whose_it_is(shop: Shop, words: tuple[object, ...]) -> None:
    own, others = (LocalSigner.from_key_file(key).address for key in (shop.key, shop.other))
    line = shop.refusal(*words, key=shop.other)
    assert f"model 1 is {own}'s, not {others}'s. Give the account that registered it" in line


@pytest.mark.parametrize("words", [("close", 5), ("succeed", 5, 6), ("succeed", 1, 2**256 - 1)])
def test_retire__unknown_model__says_which_there_are(shop: Shop, words: tuple[object, ...]) -> None:
    line = shop.refusal(*words)
    assert f"there is no model {5 if 5 in words else words[-1]}. Choose an id from 1 to 4" in line


@pytest.mark.parametrize("words", [("close", 2**256), ("succeed", 1, 2**256)])
def test_retire__id_that_no_contract_has__is_unknown(shop: Shop, words: tuple[object, ...]) -> None:
    assert f"there is no model {2**256}" in shop.refusal(*words)


def test_close__twice__says_so(shop: Shop) -> None:
    assert shop.run("close", 1).exit_code == 0
    assert "model 1 is closed already" in shop.refusal("close", 1)


@pytest.mark.parametrize(("model_id", "successor"), [(2, 2), (2, 1)])
def test_succeed__not_registered_later__says_what_to_name(
    shop: Shop, model_id: int, successor: int
) -> None:
    line = shop.refusal("succeed", model_id, successor)
    assert f"model {successor} cannot succeed model 2" in line
    assert "Name a model above 2" in line


def test_succeed__closed_model__would_take_no_requests(shop: Shop) -> None:
    assert shop.run("close", 3).exit_code == 0
    assert "model 3 is closed and takes no requests" in shop.refusal("succeed", 1, 3)


def test_succeed__twice__says_who_it_is(shop: Shop) -> None:
    assert shop.run("succeed", 1, 2).exit_code == 0
    assert "has a successor already, model 2. It is named once and for good." in shop.refusal(
        "succeed", 1, 2
    )
    assert "name one for model 2 instead" in shop.refusal("succeed", 1, 3)


def test_succeed__named_by_another_process_meanwhile__nothing_is_sent(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.run("succeed", 1, 2).exit_code == 0
    monkeypatch.setattr(RegistryContract, "successor", lambda *_: None)
    before = shop.anvil.w3.eth.block_number
    rpc, signer = Rpc([shop.anvil.url], CHAIN_ID), LocalSigner.from_key_file(shop.key)
    with pytest.raises(TransactionReverted) as caught:
        retiring.succeed(rpc, shop.registry, signer, 1, 3)
    assert caught.value.name == "InvalidSuccessor"
    assert shop.anvil.w3.eth.block_number == before


def test_close__account_without_money__is_told_to_fund_it(shop: Shop) -> None:
    owner = LocalSigner.from_key_file(shop.key).address
    shop.anvil.w3.provider.make_request("anvil_setBalance", [owner, "0x1"])  # type: ignore[arg-type]
    assert isinstance(shop.run("close", 1).exception, AccountUnfunded)
    assert shop.registry.is_open(1)


@pytest.mark.parametrize("words", [("close", "1"), ("succeed", "1", "2")])
def test_retire__no_account__says_which_options_name_one(words: tuple[str, ...]) -> None:
    error = CliRunner().invoke(app, list(words)).exception
    assert isinstance(error, UsageError)
    assert "Give --key-file, or --keystore and --password-file" in error.line()
