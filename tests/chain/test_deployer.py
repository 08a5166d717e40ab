"""``oracle deploy`` on anvil: once, whatever happens on the way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import solcx
from eth_account import Account
from typer.testing import CliRunner, Result
from web3 import Web3

from oracle.chain.artifacts import contract
from oracle.chain.deployments import deployment_path, load, save
from oracle.chain.rpc import HttpTransport, Rpc
from oracle.chain.signer import LocalSigner
from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.cli.main import app
from oracle.config import build_dir
from oracle.deployer import ADAPTER, VERIFIED, deploy, deploy_adapter
from oracle.devnet import CHAIN_ID, Anvil, fund_new_key
from oracle.errors import (
    ConfigError,
    ContractMismatch,
    OracleError,
    UsageError,
    WrongChain,
)

ETHER = 10**18
OWNER = "0x" + "0F" * 20


class Killed(BaseException):
    """Ends a run as ``kill -9`` does: nothing gets to tidy up but the operating system."""


class KilledAt:
    """An endpoint whose caller dies at its n-th call, before or after the call takes effect."""

    def __init__(self, url: str, timeout: float, calls: int, *, after: bool) -> None:
        self._inner = HttpTransport(url, timeout)
        self._left = calls
        self._after = after

    def send(self, method: str, params: list[Any]) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Killed
        if self._left == 0:
            if self._after:
                self._inner.send(method, params)
            raise Killed
        return self._inner.send(method, params)


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with Anvil(tmp_path_factory.mktemp("anvil") / "anvil.log") as running:
        yield running


@pytest.fixture
def signer(anvil: Anvil, tmp_path: Path) -> LocalSigner:
    return funded(anvil, tmp_path / "deployer.key")


def funded(anvil: Anvil, path: Path) -> LocalSigner:
    fund_new_key(anvil.w3, path, ETHER)
    return LocalSigner.from_key_file(path)


def rpc_to(anvil: Anvil, chain_id: int = CHAIN_ID) -> Rpc:
    return Rpc([anvil.url], chain_id)


def sent(anvil: Anvil, signer: LocalSigner) -> int:
    """How many transactions of the account are mined."""
    return anvil.w3.eth.get_transaction_count(Web3.to_checksum_address(signer.address))


def journal(folder: Path) -> Path:
    return folder / str(CHAIN_ID) / "deploy.journal"


def test_deploy__new_chain__everything_is_there_and_recorded(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    made, is_new = deploy(rpc_to(anvil), signer, owner=OWNER, folder=tmp_path)
    assert is_new
    assert load(CHAIN_ID, tmp_path) == made
    assert not journal(tmp_path).exists()
    assert tuple(sorted(each.name for each in made.contracts)) == tuple(sorted(VERIFIED))
    for each in made.contracts:
        code = anvil.w3.eth.get_code(Web3.to_checksum_address(each.address))
        assert each.code_hash == Web3.keccak(code).to_0x_hex()
        assert code
        built = contract(each.name)
        callable_ = anvil.w3.eth.contract(
            address=Web3.to_checksum_address(each.address), abi=built.abi
        )
        if each.name == "InferenceOracle":
            assert callable_.functions.owner().call() == Web3.to_checksum_address(OWNER)
            assert callable_.functions.registry().call() == made.registry
            assert each.address == made.oracle
        elif each.name == "InferenceLens":
            assert callable_.functions.oracle().call() == made.oracle


def test_deploy__again__sends_nothing(anvil: Anvil, signer: LocalSigner, tmp_path: Path) -> None:
    made, _ = deploy(rpc_to(anvil), signer, folder=tmp_path)
    text = deployment_path(CHAIN_ID, tmp_path).read_bytes()
    assert sent(anvil, signer) == 3
    assert deploy(rpc_to(anvil), signer, folder=tmp_path) == (made, False)
    assert sent(anvil, signer) == 3
    assert deployment_path(CHAIN_ID, tmp_path).read_bytes() == text


@pytest.mark.timeout(900)
@pytest.mark.parametrize("after", [False, True])
def test_deploy__killed_at_any_call__goes_on_where_it_was(
    anvil: Anvil, tmp_path: Path, after: bool
) -> None:
    runs = 0
    for calls in range(1, 200):
        folder = tmp_path / str(calls)
        folder.mkdir()
        signer = funded(anvil, folder / "key")

        def dying(url: str, timeout: float, calls: int = calls) -> KilledAt:
            return KilledAt(url, timeout, calls, after=after)

        with contextlib.suppress(Killed):
            deploy(Rpc([anvil.url], CHAIN_ID, transport=dying), signer, folder=folder)
            break
        assert not deployment_path(CHAIN_ID, folder).exists()
        made, is_new = deploy(rpc_to(anvil), signer, folder=folder)
        assert is_new
        assert sent(anvil, signer) == 3
        assert len(made.contracts) == 4
        assert {path.name for path in (folder / str(CHAIN_ID)).iterdir()} == {"verify"}
        runs += 1
    # Three transactions of at least five calls each, and the questions around them.
    assert runs > 20


def test_deploy__process_killed_while_it_waits__sends_nothing_twice(
    anvil: Anvil, tmp_path: Path
) -> None:
    """The whole command, ``kill -9``, with a transaction in the pool."""
    with Anvil(tmp_path / "anvil.log", "--no-mining") as slow:
        signer = funded(slow, tmp_path / "key")
        command = [sys.executable, "-m", "oracle", "deploy", "--rpc", slow.url]
        command += ["--chain-id", str(CHAIN_ID), "--key-file", str(tmp_path / "key")]
        environment = os.environ | {"ORACLE_DEPLOYMENTS": str(tmp_path / "deployments")}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: pool(slow) == 1)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert journal(tmp_path / "deployments").exists()
        assert sent(slow, signer) == 0
        slow.w3.provider.make_request("evm_setAutomine", [True])  # type: ignore[arg-type]
        done = subprocess.run(
            [*command, "--json"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["deployed"] is True
        assert sent(slow, signer) == 3


def pool(anvil: Anvil) -> int:
    answer: Any = anvil.w3.provider.make_request("txpool_status", [])  # type: ignore[arg-type]
    return int(answer["result"]["pending"], 16)


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def interrupted(anvil: Anvil, signer: LocalSigner, folder: Path, sends: int) -> None:
    """A run that dies before its n-th broadcast takes effect."""

    class Dying(KilledAt):
        def send(self, method: str, params: list[Any]) -> Any:
            self._left += method != "eth_sendRawTransaction"
            return super().send(method, params)

    def dying(url: str, timeout: float) -> Dying:
        return Dying(url, timeout, sends, after=False)

    with pytest.raises(Killed):
        deploy(Rpc([anvil.url], CHAIN_ID, transport=dying), signer, folder=folder)
    assert journal(folder).exists()


def test_interrupted__its_nonce_was_used_for_something_else__is_sent_anew(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    interrupted(anvil, signer, tmp_path, sends=2)
    spend(anvil, tmp_path / "deployer.key")
    made, _ = deploy(rpc_to(anvil), signer, folder=tmp_path)
    assert sent(anvil, signer) == 4
    assert len(made.contracts) == 4


def spend(anvil: Anvil, key: Path) -> None:
    """A transaction of the account that has nothing to do with the deployment."""
    account = Account.from_key(key.read_text().strip())
    signed = account.sign_transaction(
        {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": anvil.w3.eth.get_transaction_count(account.address),
            "to": account.address,
            "value": 0,
            "gas": 21_000,
            "maxFeePerGas": 100 * 10**9,
            "maxPriorityFeePerGas": 1,
        }
    )
    anvil.w3.eth.wait_for_transaction_receipt(
        anvil.w3.eth.send_raw_transaction(signed.raw_transaction)
    )


def test_interrupted__base_fee_has_risen_since__is_priced_anew_with_the_same_nonce(
    tmp_path: Path,
) -> None:
    with Anvil(tmp_path / "anvil.log") as dear:
        signer = funded(dear, tmp_path / "deployer.key")
        interrupted(dear, signer, tmp_path, sends=1)
        for method, *arguments in (
            ("anvil_setBalance", signer.address, hex(100 * ETHER)),
            ("anvil_setNextBlockBaseFeePerGas", hex(500 * 10**9)),
            ("anvil_mine",),
        ):
            dear.w3.provider.make_request(method, arguments)  # type: ignore[arg-type]
        deploy(rpc_to(dear), signer, folder=tmp_path)
        assert sent(dear, signer) == 3


def test_interrupted__transaction_still_in_the_pool__is_waited_for_and_not_made_again(
    tmp_path: Path,
) -> None:
    with Anvil(tmp_path / "anvil.log", "--no-mining") as slow:
        signer = funded(slow, tmp_path / "deployer.key")
        offered: list[str] = []

        class Pooled(HttpTransport):
            """Dies once the first transaction is in the pool; mines when asked for a receipt."""

            def send(self, method: str, params: list[Any]) -> Any:
                if method == "eth_sendRawTransaction":
                    offered.append(params[0])
                result = super().send(method, params)
                if method == "eth_sendRawTransaction" and len(offered) == 1:
                    raise Killed
                if method == "eth_getTransactionReceipt" and result is None:
                    mined.append(len(offered))
                    if len(mined) > 1:
                        super().send("evm_mine", [])
                return result

        mined: list[int] = []
        rpc = Rpc([slow.url], CHAIN_ID, transport=Pooled)
        with pytest.raises(Killed):
            deploy(rpc, signer, folder=tmp_path)
        deploy(rpc, signer, folder=tmp_path)
        # The first was offered again, as it was; then the other two.
        assert offered[0] == offered[1]
        assert len(offered) == len(set(offered)) + 1 == 4
        assert sent(slow, signer) == 3


def test_interrupted__another_account__cannot_go_on(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    interrupted(anvil, signer, tmp_path, sends=2)
    other = funded(anvil, tmp_path / "other.key")
    with pytest.raises(ConfigError, match=f"begun by account {signer.address}"):
        deploy(rpc_to(anvil), other, folder=tmp_path)
    assert sent(anvil, other) == 0


def test_interrupted__other_sources__do_not_go_on(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(anvil, signer, tmp_path, sends=2)
    monkeypatch.setattr("oracle.deployer.contract", edited)
    with pytest.raises(ContractMismatch, match=r"step 1 is not that of the interrupted run"):
        deploy(rpc_to(anvil), signer, folder=tmp_path)
    assert sent(anvil, signer) == 1


def edited(name: str) -> Any:
    """As after a change of the sources."""
    built = contract(name)
    return replace(built, bytecode=built.bytecode + b"\0")


def test_interrupted__journal_is_damaged__says_so(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    interrupted(anvil, signer, tmp_path, sends=1)
    journal(tmp_path).write_text('{"transactions": [{}]}')
    # That of a devnet which is gone would be dropped: this one names the chain.
    genesis = anvil.w3.eth.get_block(0)["hash"].to_0x_hex()
    journal(tmp_path).write_text(json.dumps({"genesis": genesis, "transactions": [{}]}))
    with pytest.raises(ConfigError, match="is not a journal"):
        deploy(rpc_to(anvil), signer, folder=tmp_path)


def test_recorded__other_sources__are_refused(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(rpc_to(anvil), signer, folder=tmp_path)
    monkeypatch.setattr("oracle.deployer.contract", edited)
    with pytest.raises(ContractMismatch, match="was made from other sources"):
        deploy(rpc_to(anvil), signer, folder=tmp_path)
    assert sent(anvil, signer) == 3


def test_recorded__other_code_on_the_chain__is_refused(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    made, _ = deploy(rpc_to(anvil), signer, folder=tmp_path)
    anvil.w3.provider.make_request("anvil_setCode", [made.registry, "0x00"])  # type: ignore[arg-type]
    with pytest.raises(ContractMismatch, match="is not the recorded ModelRegistry"):
        deploy(rpc_to(anvil), signer, folder=tmp_path)
    assert sent(anvil, signer) == 3


def test_recorded__another_owner_wanted__is_refused(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    deploy(rpc_to(anvil), signer, owner=OWNER, folder=tmp_path)
    assert deploy(rpc_to(anvil), signer, owner=OWNER, folder=tmp_path)[1] is False
    with pytest.raises(UsageError, match="another owner"):
        deploy(rpc_to(anvil), signer, owner="0x" + "01" * 20, folder=tmp_path)


def test_recorded__without_hashes__is_refused(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    made, _ = deploy(rpc_to(anvil), signer, folder=tmp_path)
    save(replace(made, contracts=()), tmp_path)
    with pytest.raises(ContractMismatch, match="does not say what its code must be"):
        deploy(rpc_to(anvil), signer, folder=tmp_path)


def test_chain_id__of_another_chain__is_refused(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    with pytest.raises(WrongChain):
        deploy(rpc_to(anvil, chain_id=1), signer, folder=tmp_path)
    assert sent(anvil, signer) == 0
    assert not deployment_path(1, tmp_path).exists()


def test_devnet__started_anew__is_deployed_anew(anvil: Anvil, tmp_path: Path) -> None:
    """It has the same chain id and another first block."""
    addresses = []
    for start in ("first", "second"):
        with Anvil(tmp_path / f"{start}.log", "--timestamp", str(10**9 + len(addresses))) as fresh:
            signer = funded(fresh, tmp_path / f"{start}.key")
            made, is_new = deploy(rpc_to(fresh), signer, folder=tmp_path)
            assert is_new
            addresses.append(made.oracle)
    assert addresses[0] != addresses[1]


def test_chain__that_shares_its_id_with_the_recorded_one__is_refused(tmp_path: Path) -> None:
    for start in (0, 1):
        options = ("--chain-id", "777", "--timestamp", str(10**9 + start))
        with Anvil(tmp_path / f"{start}.log", *options) as other:
            signer = funded(other, tmp_path / f"{start}.key")
            if start == 0:
                deploy(rpc_to(other, 777), signer, folder=tmp_path)
            else:
                with pytest.raises(WrongChain, match="another chain of that id"):
                    deploy(rpc_to(other, 777), signer, folder=tmp_path)
                assert sent(other, signer) == 0


def test_two_deployments_at_once__the_second_is_refused(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    def second(_: str) -> None:
        with pytest.raises(ConfigError, match="another deployment is at work"):
            deploy(rpc_to(anvil), signer, folder=tmp_path)

    assert deploy(rpc_to(anvil), signer, folder=tmp_path, progress=second)[1]


# An adapter for consumers written for ORA, beside the oracle.


def test_deploy_adapter__beside_the_oracle__is_recorded_and_sent_once(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    made, _ = deploy(rpc_to(anvil), signer, folder=tmp_path)
    address, is_new = deploy_adapter(rpc_to(anvil), signer, owner=OWNER, folder=tmp_path)
    assert is_new
    adapter = anvil.w3.eth.contract(
        address=Web3.to_checksum_address(address), abi=contract(ADAPTER).abi
    )
    assert adapter.functions.oracle().call() == made.oracle
    assert adapter.functions.owner().call() == Web3.to_checksum_address(OWNER)
    recorded = load(CHAIN_ID, tmp_path)
    assert recorded.contracts[:-1] == made.contracts
    assert (recorded.contracts[-1].name, recorded.contracts[-1].address) == (ADAPTER, address)
    assert (tmp_path / str(CHAIN_ID) / "verify" / f"{ADAPTER}.input.json").exists()
    assert deploy_adapter(rpc_to(anvil), signer, folder=tmp_path) == (address, False)
    assert deploy(rpc_to(anvil), signer, folder=tmp_path) == (recorded, False)
    assert sent(anvil, signer) == 4


def test_deploy_adapter__no_oracle__is_refused(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no deployment is recorded"):
        deploy_adapter(rpc_to(anvil), signer, folder=tmp_path)
    assert sent(anvil, signer) == 0


def test_deploy_adapter__killed_at_any_call__goes_on_where_it_was(
    anvil: Anvil, tmp_path: Path
) -> None:
    runs = 0
    for calls in range(1, 50):
        folder = tmp_path / str(calls)
        folder.mkdir()
        signer = funded(anvil, folder / "key")
        deploy(rpc_to(anvil), signer, folder=folder)

        def dying(url: str, timeout: float, calls: int = calls) -> KilledAt:
            return KilledAt(url, timeout, calls, after=True)

        with contextlib.suppress(Killed):
            deploy_adapter(Rpc([anvil.url], CHAIN_ID, transport=dying), signer, folder=folder)
            break
        assert deploy_adapter(rpc_to(anvil), signer, folder=folder)[1]
        assert sent(anvil, signer) == 4
        assert {path.name for path in (folder / str(CHAIN_ID)).iterdir()} == {"verify"}
        runs += 1
    assert runs > 5


def test_deploy_command__with_adapter__says_where_it_is(
    anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path))
    funded(anvil, tmp_path / "key")
    command = ["deploy", "--rpc", anvil.url, "--chain-id", str(CHAIN_ID), "--ora-adapter"]
    command += ["--key-file", str(tmp_path / "key")]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    address = json.loads(done.stdout)["adapter"]
    assert load(CHAIN_ID, tmp_path).contracts[-1].address == address
    again = CliRunner().invoke(app, command)
    assert f"adapter {address}" in again.stdout


# What block explorers are given.


@pytest.mark.timeout(600)
def test_verification__its_file_alone__compiles_to_the_code_on_the_chain(
    anvil: Anvil, signer: LocalSigner, tmp_path: Path
) -> None:
    made, _ = deploy(rpc_to(anvil), signer, owner=OWNER, folder=tmp_path)
    folder = tmp_path / str(CHAIN_ID) / "verify"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{end}" for name in VERIFIED for end in ("json", "input.json")
    }
    for each in made.contracts:
        about = json.loads((folder / f"{each.name}.json").read_text())
        text = (folder / about["input"]).read_bytes()
        assert about["input_sha256"] == hashlib.sha256(text).hexdigest()
        assert about["compiler"].startswith(f"v{SOLC_CONTRACTS}+commit.")
        unit, _, name = about["contract"].partition(":")
        evm = compiled_alone(text, tmp_path)["contracts"][unit][name]["evm"]
        creation = evm["bytecode"]["object"] + about["constructor_arguments"].removeprefix("0x")
        transaction = anvil.w3.eth.get_transaction(about["transaction"])
        # The text coder is created by the oracle's constructor, so its code is part of that.
        if each.name == "TextCoder":
            assert creation in transaction["input"].hex()
        else:
            assert transaction["input"].hex() == creation
        code = anvil.w3.eth.get_code(Web3.to_checksum_address(about["address"])).hex()
        assert without(evm, code) == without(evm, evm["deployedBytecode"]["object"])


def without(evm: dict[str, Any], code: str) -> str:
    """Runtime code with the places of immutables, which the constructor fills in, blank."""
    for places in evm["deployedBytecode"]["immutableReferences"].values():
        for place in places:
            first, last = 2 * place["start"], 2 * (place["start"] + place["length"])
            code = code[:first] + "0" * (last - first) + code[last:]
    return code


def compiled_alone(text: bytes, folder: Path) -> dict[str, Any]:
    """solc's answer to an input, in a folder without any source; kept by the input's hash."""
    kept = build_dir() / "solc" / f"alone-{hashlib.sha256(text).hexdigest()}.json"
    if not kept.exists():
        asked = json.loads(text)
        kinds = ["evm.bytecode.object", "evm.deployedBytecode"]
        asked["settings"]["outputSelection"] = {"*": {"*": kinds}}
        with contextlib.chdir(folder):
            answer = solcx.compile_standard(asked, solc_binary=toolchain().solc(SOLC_CONTRACTS))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(
            json.dumps({"contracts": answer["contracts"], "sources": [*answer["sources"]]})
        )
    answer = json.loads(kept.read_text())
    # The wrapped compiler looks for imports in packages too: it needed none.
    assert set(answer["sources"]) == set(json.loads(text)["sources"])
    return dict(answer)


# What people type.


def oracle(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def recorded_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path / "deployments"))
    return tmp_path / "deployments"


def test_command__keystore__deploys_and_other_commands_find_it(
    anvil: Anvil, tmp_path: Path, recorded_in: Path
) -> None:
    account = Account.create()
    password = tmp_path / "password"
    keystore = tmp_path / "keystore.json"
    for path, text in (
        (keystore, json.dumps(Account.encrypt(account.key, "pw", kdf="pbkdf2", iterations=1000))),
        (password, "pw\n"),
    ):
        path.touch(mode=0o600)
        path.write_text(text)
    anvil.w3.provider.make_request("anvil_setBalance", [account.address, hex(ETHER)])  # type: ignore[arg-type]
    chain = ("--rpc", anvil.url, "--chain-id", CHAIN_ID)
    result = oracle(
        *("deploy", *chain, "--keystore", keystore, "--password-file", password, "--json")
    )
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    assert found["deployed"]
    assert found["record"] == str(recorded_in / f"{CHAIN_ID}.json")
    again = oracle("deploy", *chain, "--keystore", keystore, "--password-file", password)
    assert again.exit_code == 0, again.exception
    assert found["oracle"] in again.stdout

    fund_new_key(anvil.w3, tmp_path / "caller.key", ETHER)
    for command, message in (
        (("withdraw",), "has no credit to withdraw"),
        (("refund", "0x1"), "no request since block"),
        (("request", "1,2"), "there is no model 1"),
    ):
        key = ("--key-file", tmp_path / "caller.key")
        asked = oracle(*command, *chain, *key)
        assert isinstance(asked.exception, UsageError), asked.output
        assert message in asked.exception.message


def test_command__nothing_recorded__names_both_ways_out(
    anvil: Anvil, tmp_path: Path, recorded_in: Path
) -> None:
    fund_new_key(anvil.w3, tmp_path / "caller.key", ETHER)
    chain = ("--rpc", anvil.url, "--chain-id", CHAIN_ID)
    result = oracle("withdraw", *chain, "--key-file", tmp_path / "caller.key")
    assert isinstance(result.exception, ConfigError), result.output
    assert "--oracle" in result.exception.line()
    assert "oracle deploy" in result.exception.line()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "there is no account to deploy with"),
        (("--keystore", "a", "--key-file", "b"), "there is no account to deploy with"),
        (("--key-file", "none.key"), "cannot be read"),
        (("--key-file", "none.key", "--owner", "me"), "--owner me is not an Ethereum address"),
    ],
)
def test_command__wrong_option__one_line_and_nothing_written(
    anvil: Anvil, recorded_in: Path, options: tuple[str, ...], message: str
) -> None:
    result = oracle("deploy", "--rpc", anvil.url, "--chain-id", CHAIN_ID, *options)
    assert isinstance(result.exception, OracleError), result.output
    assert message in result.exception.line()
    assert not recorded_in.exists()
