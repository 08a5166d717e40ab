"""``oracle node init`` and ``oracle node srs``: from nothing to the first check (operators D10)."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oracle.chain.signer import LocalSigner
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource
from oracle.cli.main import app
from oracle.config import load_node_config
from oracle.errors import OracleError
from oracle.testing import ORACLE, FakeChain
from oracle.testing_http import over_http


class Shell:
    """The command line, with a chain behind an endpoint."""

    def __init__(self, url: str, bundle: Path, srs: Path) -> None:
        self.url, self.bundle, self.srs = url, bundle, srs

    def run(self, *words: str | Path) -> str:
        """What a command prints; raises its error."""
        done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
        return str(done.output)

    def init(self, folder: Path, *words: str | Path) -> str:
        given = ("--folder", folder, "--rpc", self.url, "--bundle", self.bundle, "--oracle", ORACLE)
        return self.run("node", "init", *given, "--srs-from", self.srs, *words)


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
def shell(
    chain: FakeChain, tmp_path: Path, iris_bundle: Bundle, devnet_srs: SrsSource
) -> Iterator[Shell]:
    bundle = Path(shutil.copytree(iris_bundle.path, tmp_path / "models" / "iris"))
    (tmp_path / "models" / "srs").mkdir()
    with over_http(chain) as url:
        yield Shell(url, bundle, devnet_srs.folder)


def refusal(shell: Shell, folder: Path, *words: str | Path) -> str:
    with pytest.raises(OracleError) as caught:
        shell.init(folder, *words)
    assert "\n" not in caught.value.line()
    return caught.value.line()


def test_init__from_nothing__makes_all_that_a_check_wants(
    shell: Shell, chain: FakeChain, tmp_path: Path
) -> None:
    """Operators D10, missing 1."""
    folder = tmp_path / "my node"
    text = shell.init(folder)
    config = load_node_config(folder / "node.toml")
    assert (config.chain_id, config.oracle, config.rpc_urls) == (31337, ORACLE, (shell.url,))
    assert Bundle.load(config.bundles[0], config.srs_dir)
    assert config.srs_dir == tmp_path / "models" / "srs"
    signer = LocalSigner.from_keystore(folder / "keystore.json", folder / "password")
    for name in ("node.toml", "keystore.json", "password"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert signer.address in text
    assert ("Fund" in text) == (chain.rpc().balance(signer.address) < 2 * config.min_balance)
    # The last line is the next command, as it can be pasted.
    words = shlex.split(text.strip().splitlines()[-1])
    assert words == ["oracle", "node", "check", "--config", str(folder / "node.toml")]


def test_init__empty_account__says_what_to_send(
    shell: Shell, chain: FakeChain, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("11" * 32)
    (tmp_path / "key").chmod(0o600)
    address = LocalSigner.from_key_file(tmp_path / "key").address
    chain.balances[address] = 5 * 10**15
    text = shell.init(tmp_path / "n", "--key-file", tmp_path / "key")
    assert f"Fund {address} with at least 15000000000000000 wei (0.015 ETH). Then:" in text
    assert not (tmp_path / "n" / "keystore.json").exists()
    chain.balances[address] = 10**18
    text = shell.init(tmp_path / "m", "--key-file", tmp_path / "key")
    assert "Fund" not in text


def test_init__again__overwrites_nothing(shell: Shell, tmp_path: Path) -> None:
    shell.init(tmp_path / "n")
    before = {path.name: path.read_bytes() for path in (tmp_path / "n").iterdir()}
    assert "exists already, and is left as it is" in refusal(shell, tmp_path / "n")
    assert {path.name: path.read_bytes() for path in (tmp_path / "n").iterdir()} == before
    # Without the configuration the account is taken up again.
    (tmp_path / "n" / "node.toml").unlink()
    report = json.loads(shell.init(tmp_path / "n", "--json"))
    assert not report["is_new"]
    assert json.loads(before["keystore.json"])["address"].lower() in report["account"].lower()
    after = {path.name: path.read_bytes() for path in (tmp_path / "n").iterdir()}
    assert after == before


def test_init__died_after_the_password__goes_on(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "password").write_text("word\n")
    (tmp_path / "n" / "password").chmod(0o600)
    assert json.loads(shell.init(tmp_path / "n", "--json"))["is_new"]
    assert (tmp_path / "n" / "password").read_text() == "word\n"
    LocalSigner.from_keystore(tmp_path / "n" / "keystore.json", tmp_path / "n" / "password")


def test_init__keystore_without_its_password__is_left_alone(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "keystore.json").write_text("{}")
    assert "password cannot be read" in refusal(shell, tmp_path / "n")
    assert (tmp_path / "n" / "keystore.json").read_text() == "{}"
    assert not (tmp_path / "n" / "node.toml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rpc", "http://127.0.0.1:1"], "127.0.0.1:1"),
        (["--bundle", "/nowhere"], "Give the folder of a built model"),
        (["--oracle", "0x" + "ab" * 20], "CONTRACT_MISMATCH"),
        (["--folder", "/proc/nowhere"], "the folder /proc/nowhere cannot be made"),
        (["--start-block", "4000000"], "--start-block 4000000 is beyond the newest block"),
        (["--oracle", "0x12"], "--oracle 0x12 is not an Ethereum address"),
        (["--srs-from", "/nowhere"], "Give the folder that has it with --srs-from"),
    ],
)
def test_init__something_is_wrong__leaves_no_account_and_no_configuration(
    shell: Shell, tmp_path: Path, words: list[str], said: str
) -> None:
    folder = tmp_path / "n"
    given = {"--folder": str(folder), "--rpc": shell.url, "--bundle": str(shell.bundle)}
    given |= {"--oracle": ORACLE}
    given |= {"--srs-from": str(shell.srs), words[0]: words[1]}
    with pytest.raises(OracleError) as caught:
        shell.run("node", "init", *(w for pair in given.items() for w in pair))
    assert said in caught.value.line()
    assert not folder.exists()


def test_init__refused_by_the_environment__leaves_no_account_either(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_NODE__WORKERS", "none")
    assert "ORACLE_NODE__WORKERS" in refusal(shell, tmp_path / "n")
    assert not list((tmp_path / "n").iterdir())


def test_init__port_that_cannot_be__is_refused_by_its_option(shell: Shell, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["node", "init", "--http-port", "99999"])
    assert done.exit_code == 2
    assert "--http-port" in done.output
    assert not list(tmp_path.glob("**/keystore.json"))


def test_init__again_in_a_folder_with_a_space__its_remedy_can_be_pasted(
    shell: Shell, tmp_path: Path
) -> None:
    shell.init(tmp_path / "my node")
    command = refusal(shell, tmp_path / "my node").rpartition("then: ")[2].removesuffix(".")
    assert shlex.split(command)[-1] == str(tmp_path / "my node" / "node.toml")


@pytest.mark.parametrize("name", ["\U0001f680", "del\x7f", "naïve"])
def test_init__path_beyond_ascii__is_written_as_it_is(
    shell: Shell, tmp_path: Path, name: str
) -> None:
    strange = shutil.copytree(shell.bundle, tmp_path / name / "iris")
    shell.init(tmp_path / "n", "--bundle", strange)
    assert load_node_config(tmp_path / "n" / "node.toml").bundles[1] == strange


def test_init__nobody_answers__is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-D in a terminal; and a wrong address is told before the next question."""
    monkeypatch.setattr("oracle.cli.begin._is_asked", lambda: True)
    with pytest.raises(OracleError, match="--rpc was not answered"):
        CliRunner().invoke(app, ["node", "init"], input="", catch_exceptions=False)
    with pytest.raises(OracleError) as caught:
        CliRunner().invoke(
            app, ["node", "init"], input="http://127.0.0.1:1\n", catch_exceptions=False
        )
    assert "127.0.0.1:1" in caught.value.line()
    assert "--bundle" not in caught.value.line()


def test_init__nothing_named_and_nobody_to_ask__names_the_option(shell: Shell) -> None:
    with pytest.raises(OracleError, match="--rpc is missing"):
        shell.run("node", "init")


def test_init__address_with_quotes_and_backslashes__is_written_as_it_is(
    shell: Shell, tmp_path: Path
) -> None:
    strange = shutil.copytree(shell.bundle, tmp_path / 'mo"d\\els' / "iris")
    report = json.loads(
        shell.init(tmp_path / "n", "--bundle", strange, "--rpc", shell.url + "/a?k='\"", "--json")
    )
    values = tomllib.loads(Path(report["config"]).read_text())
    assert values["bundles"] == [str(shell.bundle), str(strange)]
    assert values["rpc_urls"][1] == shell.url + "/a?k='\""


def test_srs__missing__the_errors_remedy_works_when_pasted(
    shell: Shell, iris_bundle: Bundle
) -> None:
    """Operators D10: the remedy named a folder in site-packages."""
    with pytest.raises(OracleError) as caught:
        Bundle.load(shell.bundle)
    remedy = caught.value.remedy or ""
    command, other = re.fullmatch(
        r"Run: (oracle node srs .*) --srs-url URL \(or (.*)\)", remedy
    ).groups()  # type: ignore[union-attr]
    words = shlex.split(f"{command} {other.replace('FOLDER', str(shell.srs))}")
    shown = shell.run(*words[1:])
    assert str(shell.bundle.parent / "srs") in shown
    assert Bundle.load(shell.bundle).bundle_id == iris_bundle.bundle_id
