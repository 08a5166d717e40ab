"""Every command that a document prints is run by a test, or is one that exists.

Fenced blocks are run as printed. `RUN_BY` says where; a block that nobody claims fails here, and so
does a claim on a block that is gone. Commands within a sentence are parsed: names and options exist.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from eth_account import Account
from web3.types import RPCEndpoint

from oracle.chain.deployments import load
from oracle.circuits.bundle import Bundle
from oracle.cli.main import app
from oracle.devnet import Anvil
from tests.docs.pages import PAGES, ROOT, Block, blocks, prose

PUBLISHERS = "tests/circuits/test_publishers_page.py::test_page__commands_run_as_printed"
README = "tests/docs/test_commands.py::test_readme__from_a_model_to_an_answer_and_its_earnings"
CONSUMER = "tests/e2e/test_command_line.py::test_consumers_page__its_contract__is_called_back"
#: The test that runs a block, by page and how one of the block's commands begins.
RUN_BY = {
    ("CONTRIBUTING.md", "make setup"): (
        "tests/docs/test_commands.py::test_contributing__what_it_names__are_tests"
    ),
    ("README.md", "make demo"): "tests/docs/test_commands.py::test_readme__two_commands__are_run",
    ("README.md", "oracle model build"): README,
    ("README.md", "anvil --silent &"): README,
    ("README.md", "oracle devnet up --node"): (
        "tests/docs/test_commands.py::test_readme__a_chain_that_stays__answers"
    ),
    ("docs/contract-developers.md", "npm pack $ORACLE/contracts"): (
        "tests/contracts/test_kit.py::test_template__with_foundry__passes, "
        "tests/contracts/ape/test_with_ape.py::test_template__with_ape__passes"
    ),
    ("docs/contract-developers.md", "export ORACLE="): CONSUMER,
    ("docs/contract-developers.md", "(cd $ORACLE && oracle devnet up --node)"): CONSUMER,
    ("docs/publishers.md", "export PATH="): README,
    ("docs/publishers.md", "oracle model inspect"): PUBLISHERS,
    ("docs/publishers.md", "oracle model build scripts"): PUBLISHERS,
    ("docs/publishers.md", "oracle model build wine.onnx"): PUBLISHERS,
    ("docs/publishers.md", "oracle model register"): PUBLISHERS,
    ("docs/publishers.md", "oracle model audit"): PUBLISHERS,
    ("deployments/README.md", "oracle deploy"): (
        "tests/docs/test_commands.py::test_deployments__its_command__deploys_and_records"
    ),
}
#: A page whose every command is run or parsed by one test, whatever it prints.
WHOLE_PAGES = {
    "docs/cli.md": (
        "tests/unit/test_cli_page.py::test_command__shows_an_example_that_it_understands, "
        "tests/unit/test_cli_page.py::test_page__is_what_the_program_says"
    ),
}
SHELL = {"", "sh", "bash", "console"}


def shell_blocks() -> list[tuple[str, list[str]]]:
    """Page and commands of each block that is meant for a shell."""
    return [
        (block.page, block.commands)
        for block in blocks()
        if block.language in SHELL and not block.text.startswith("oracle/ ")  # the README's tree
    ]


def claims_of(page: str, commands: list[str]) -> list[tuple[str, str]]:
    return [
        (place, start)
        for place, start in RUN_BY
        if place == page and any(command.startswith(start) for command in commands)
    ]


def test_blocks__each_is_claimed_by_a_test_that_runs_it() -> None:
    claimed = set()
    for page, commands in shell_blocks():
        claims = claims_of(page, commands)
        assert claims or page in WHOLE_PAGES, f"{page}: nobody runs: {commands[0]}"
        claimed |= set(claims)
    assert set(RUN_BY) == claimed, "claims on blocks that are gone"


@pytest.mark.parametrize("claim", sorted({*RUN_BY.values(), *WHOLE_PAGES.values()}))
def test_claims__name_tests_that_exist(claim: str) -> None:
    for each in claim.split(", "):
        file, _, test = each.partition("::")
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_contributing__what_it_names__are_tests() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in re.findall(r"(?<![\w/])tests/[\w/.]*\w", text):
        assert (ROOT / path).exists(), path
    (block,) = [block for block in blocks() if block.page == "CONTRIBUTING.md"]
    # Set up is all of this already, or this test would not run.
    setup, *commands = block.commands
    assert setup == "make setup"
    assert [command.split()[0] for command in commands] == ["export", "pytest", "pytest"]
    done = subprocess.run(
        ["bash", "-euc", "\n".join(commands)],
        cwd=ROOT,
        # What they find is run by this very run.
        env={**os.environ, "PYTEST_ADDOPTS": "--collect-only"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "tests/node/test_watcher.py" in done.stdout
    assert "tests/circuits/test_plans.py" in done.stdout


def spans() -> Iterator[tuple[str, str]]:
    """Code within sentences and tables, by page."""
    for path in PAGES:
        for code in re.findall(r"`([^`\n]+)`", prose(path.read_text())):
            yield str(path.relative_to(ROOT)), code


def test_sentences__every_make_target__exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for _, code in spans() for word in re.findall(r"^make ([a-z-]+)", code)}
    assert len(named) > 4
    assert named <= targets


def test_sentences__every_oracle_command__has_that_name_and_those_options() -> None:
    top = typer.main.get_command(app)
    checked = 0
    for page, code in spans():
        if not code.startswith("oracle "):
            continue
        command, words = top, shlex.split(code)[1:]
        while words and hasattr(command, "resolve_command") and is_name(words[0]):
            # Raises for a name that does not exist.
            _, command, words = command.resolve_command(command.context_class(command), words)
        options = {name for each in command.params for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= options, (page, code)
        checked += 1
    assert checked > 10


def is_name(word: str) -> bool:
    """Not an option, and nothing that stands for something of the reader's."""
    return not (word.startswith("-") or word == "..." or re.fullmatch(r"[A-Z][A-Z_]*", word))


def test_readme__two_commands__are_run() -> None:
    """`make demo` is `oracle demo`, which tests/e2e/test_demo.py runs; continuous integration runs
    `make test`."""
    (commands,) = (found for page, found in shell_blocks() if found[0] == "make demo")
    assert commands == ["make demo", "make test"]
    recipe = re.search(r"^demo: setup.*\n\t@(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    assert recipe[1] == "oracle demo"
    assert '"-m", "oracle", "demo"' in (ROOT / "tests" / "e2e" / "test_demo.py").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Stands for the checkout after `make setup`; what is written stays here."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("ape-config.yaml", "build", "contracts", "node_modules", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def shell(folder: Path, script: str, timeout: float = 600) -> str:
    """What bash prints for a script; whatever the script left running ends with it."""
    path = ":".join(p for p in os.environ["PATH"].split(":") if not p.startswith(str(ROOT)))
    environment = {name: value for name, value in os.environ.items() if name != "SOLCX_BINARY_PATH"}
    environment |= {
        "PATH": path,
        "ORACLE_DEPLOYMENTS": str(folder / "deployments"),
        "APE_DATA_FOLDER": str(folder / "ape"),
    }
    log = folder.parent / "shell.log"
    with log.open("w") as output:
        running = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = running.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    assert code == 0, log.read_text()
    return log.read_text()


def block_with(page: str, command: str) -> str:
    """The one block of a page that has this command."""
    (text,) = (block.text for block in blocks() if block.page == page and command in block.text)
    return text


def test_readme__its_build__is_the_publishers_pages() -> None:
    """Whose test runs it; a build takes longest of all commands."""
    ours = Block("", "sh", block_with("README.md", "oracle model build")).commands
    theirs = [command for block in blocks() for command in block.commands]
    (build,) = (command for command in ours if "model build" in command)
    assert build.replace("--out my-bundle", "--out iris") in theirs
    setup = block_with("docs/publishers.md", "export PATH=")
    assert setup in block_with("README.md", "oracle model build"), "one shell for both pages"
    assert setup in block_with("README.md", "oracle devnet up")


@pytest.mark.timeout(900)  # an audit, a deployment and a proof
def test_readme__from_a_model_to_an_answer_and_its_earnings(
    checkout: Path, iris_bundle: Bundle
) -> None:
    """As printed, one block after the other, but for the port and with a bundle built before."""
    shutil.copytree(iris_bundle.path, checkout / "my-bundle")
    printed = block_with("README.md", "oracle model build")
    own = re.sub(r"^oracle model build .*\\\n.*\n", "", printed, flags=re.MULTILINE)
    deploy = block_with("README.md", "anvil --silent")
    port = str(free_port())
    config = block_with("README.md", 'bundles = ["my-bundle"]')
    (checkout / "node.toml").write_text(config.replace("8545", port))
    deploy = deploy.replace("anvil --silent &", f"anvil --silent --port {port} &")
    said = shell(checkout, own + deploy.replace("8545", port))
    assert "model build" not in own
    assert "model audit" in own
    assert re.search(r"^-?[\d.]+, ?-?[\d.]+, ?-?[\d.]+$", said, re.MULTILINE), said
    (earned,) = re.findall(r"^(\d+) wei sent to (0x\w+)$", said, re.MULTILINE)
    assert int(earned[0]) > 0
    assert earned[1] == Account.from_key((checkout / "node.key").read_text().strip()).address


@pytest.mark.timeout(900)  # the demo's model may have to be built
def test_readme__a_chain_that_stays__answers(checkout: Path, iris_bundle: Bundle) -> None:
    """As printed, but for port and folder: a developer's own devnet is left alone."""
    port = free_port()
    script = block_with("README.md", "oracle devnet up")
    for printed, here in (
        ("devnet up --node", f"devnet up --node --port {port} --folder devnet"),
        ("devnet down", "devnet down --folder devnet"),
        ("--key-file build/devnet/", f"--rpc http://127.0.0.1:{port} --key-file devnet/"),
    ):
        assert script.count(printed) == 1
        script = script.replace(printed, here)
    said = shell(checkout, script)
    # What it proposes to ask is a flower, and its node has a page.
    assert re.search(r"^Ask:  oracle request 5\.1,3\.5,1\.4,0\.2 --key-file ", said, re.MULTILINE)
    assert re.search(r"^page     http://127\.0\.0\.1:\d+$", said, re.MULTILINE)
    assert re.search(r"^-?[\d.]+, ?-?[\d.]+, ?-?[\d.]+$", said, re.MULTILINE), said


@pytest.mark.timeout(900)  # where nothing is compiled yet
def test_deployments__its_command__deploys_and_records(checkout: Path) -> None:
    (command,) = (block.text for block in blocks() if block.page == "deployments/README.md")
    account = Account.create()
    for name in ("deployer.json", "deployer.password"):
        (checkout / name).touch(mode=0o600)
    (checkout / "deployer.json").write_text(json.dumps(account.encrypt("open", iterations=1)))
    (checkout / "deployer.password").write_text("open\n")
    setup = "export PATH=$PWD/build/toolchain/bin:$PWD/.venv/bin:$PATH\n"
    with Anvil(checkout / "anvil.log", "--chain-id", "17000") as anvil:
        anvil.w3.provider.make_request(
            RPCEndpoint("anvil_setBalance"), [account.address, hex(10**19)]
        )
        shell(checkout, setup + command.replace("--rpc URL", f"--rpc {anvil.url}"))
        assert anvil.w3.eth.get_code(load(17000, checkout / "deployments").oracle)
