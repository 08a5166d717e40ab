"""The commands as a person types them: on a terminal, in a pipe, from a script."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from oracle.background import Process
from oracle.chain import deployments
from oracle.circuits.bundle import Bundle
from oracle.config import project_root
from oracle.devnet import CHAIN_ID
from oracle.errors import RequestUnknown
from tests.patience import PATIENCE

from .test_bad_input import refusal

FLOWER = "5.1,3.5,1.4,0.2"


class Shell:
    """A person's shell: one working folder, one place for deployments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "ORACLE_DEPLOYMENTS": str(folder / "deployments"),
            "COLUMNS": "80",
        }
        self.environment.pop("NO_COLOR", None)

    def run(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """In a pipe."""
        return subprocess.run(
            [sys.executable, "-m", "oracle", *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            timeout=200,
            env=self.environment | environment,
        )

    def json(self, *words: object) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1, "stdout carries one JSON value and nothing else"
        return json.loads(done.stdout)

    def on_terminal(self, *words: object) -> str:
        """What a terminal of 80 columns gets, stdout and stderr together."""
        pid, terminal = pty.fork()
        if pid == 0:
            command = [sys.executable, "-m", "oracle", *map(str, words)]
            os.execve(sys.executable, command, {**self.environment, "TERM": "xterm-256color"})
        shown = b""
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # Linux' way to tell that the other side has closed
                break
            if not piece:
                break
            shown += piece
        os.close(terminal)
        os.waitpid(pid, 0)
        return shown.decode()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def devnet(shell: Shell, iris_bundle: Bundle) -> Iterator[dict[str, Any]]:
    place = shell.folder / "devnet"
    options = ("--folder", place, "--bundle", iris_bundle.path, "--port", 0)
    try:
        yield shell.json("devnet", "up", "--node", *options)
    finally:
        shell.run("devnet", "down", "--folder", place)


@pytest.fixture(scope="module")
def asked(shell: Shell, devnet: dict[str, Any]) -> dict[str, Any]:
    """An answered request."""
    return dict(
        shell.json("request", FLOWER, "--rpc", devnet["url"], "--key-file", devnet["caller_key"])
    )


def test_devnet_up__again__finds_what_runs(shell: Shell, devnet: dict[str, Any]) -> None:
    options = ("--folder", shell.folder / "devnet", "--port", 0)
    assert shell.json("devnet", "up", "--node", *options) == devnet
    record = deployments.load(CHAIN_ID, shell.folder / "deployments")
    assert (record.oracle, record.models[0].name) == (devnet["oracle"], "iris")
    own = deployments.devnet_path(CHAIN_ID, devnet["url"], shell.folder / "deployments")
    assert json.loads(own.read_text())["folder"] == str(shell.folder / "devnet")


def test_devnet_up__node_has_died__starts_only_the_node(shell: Shell, devnet: Any) -> None:
    Process(**devnet["node"]).stop()
    again = shell.json("devnet", "up", "--node", "--folder", shell.folder / "devnet")
    assert again["anvil"] == devnet["anvil"]
    assert again["node"] != devnet["node"]
    assert Process(**again["node"]).is_running


def test_request_result_why__find_the_oracle_and_agree(
    shell: Shell, devnet: dict[str, Any], asked: dict[str, Any]
) -> None:
    name, rpc = asked["request_id"], ("--rpc", devnet["url"])
    assert len(asked["output"]) == 3
    assert shell.json("result", name, *rpc) == asked
    printed = shell.run("result", name, *rpc).stdout
    assert [float(value) for value in printed.split(",")] == pytest.approx(
        asked["output"], abs=1e-3
    )
    report = shell.json("why", name, *rpc)
    assert (report["cause"], report["status"]) == ("answered", "fulfilled")
    assert report["steps"][-1]["transaction"] == asked["transaction"]
    with_node = shell.json("why", name, "--config", devnet["node_config"])
    assert {step["source"] for step in with_node["steps"]} == {"chain", "node"}


def test_result__nobody_asked__is_one_line_with_a_code(shell: Shell, devnet: Any) -> None:
    line = refusal(shell.run("result", "0x12", "--rpc", devnet["url"]))
    assert line.startswith("REQUEST_UNKNOWN: ")
    assert refusal(shell.run("result", "hello", "--rpc", devnet["url"])).startswith("USAGE: ")


def test_request__not_waited_for__is_told_by_its_id_alone(shell: Shell, devnet: Any) -> None:
    options = ("--rpc", devnet["url"], "--key-file", devnet["caller_key"])
    done = shell.run("request", "6.1,2.8,4.7,1.2", "--timeout", 0, *options)
    assert re.fullmatch(r"0x[0-9a-f]{64}\n", done.stdout)
    waited = shell.run("result", done.stdout.strip(), "--timeout", 60, "--rpc", devnet["url"])
    assert waited.returncode == 0, waited.stderr


def test_request__no_answer_in_time__names_the_command_for_this_chain(
    shell: Shell, devnet: Any
) -> None:
    options = ("--rpc", devnet["url"], "--key-file", devnet["caller_key"])
    line = shell.run("request", "6.1,2.8,4.7,1.2", "--timeout", 0.01, *options).stderr
    assert re.search(rf"oracle why 0x[0-9a-f]{{64}} --rpc {devnet['url']}\.$", line), line


def test_why__on_a_terminal__has_colours_and_whole_commands(
    shell: Shell, devnet: dict[str, Any], asked: dict[str, Any]
) -> None:
    command = ("why", asked["request_id"], "--rpc", devnet["url"])
    shown = shell.on_terminal(*command)
    assert "\x1b[" in shown
    assert f"oracle result {asked['request_id']}" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    piped = shell.run(*command)
    assert "\x1b" not in piped.stdout + piped.stderr
    assert piped.stderr == ""


def test_no_color__is_respected(shell: Shell, devnet: Any, asked: dict[str, Any]) -> None:
    shell.environment["NO_COLOR"] = "1"
    try:
        shown = shell.on_terminal("why", asked["request_id"], "--rpc", devnet["url"])
    finally:
        del shell.environment["NO_COLOR"]
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown), "no foreground colour"


def test_example_of_the_client__runs_as_its_docstring_says(shell: Shell, devnet: Any) -> None:
    script = project_root() / "scripts" / "example_client.py"
    done = subprocess.run(
        [sys.executable, script, "--rpc", devnet["url"], "--key-file", devnet["caller_key"]],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env=shell.environment,
    )
    assert done.returncode == 0, done.stderr
    proved = re.findall(r"^proved   (\w+)", done.stdout, re.MULTILINE)
    flowers = len(np.load(project_root() / "scripts" / "models" / "iris_samples.npy")[::40])
    assert len(proved) == 1 + flowers
    assert proved[0] == proved[1]
    assert "refused  TENSOR_LENGTH: " in done.stdout


def test_consumers_page__its_contract__is_called_back(
    shell: Shell, devnet: Any, tmp_path: Path
) -> None:
    """The page's commands, but for the devnet that runs here already."""
    page = (project_root() / "docs" / "contract-developers.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    (tools,) = (text for text in blocks if text.startswith("export ORACLE="))
    (kit,) = (text for text in blocks if text.startswith("npm pack"))
    (ask,) = (text for text in blocks if "example_consumer.py" in text)
    tools = tools.replace("/path/to/the/checkout", shlex.quote(str(project_root())))
    kit = kit.replace("forge test\nape test\n", "forge build\n")
    up, *asking, down = ask.splitlines()
    assert (up, down) == tuple(
        f"(cd $ORACLE && oracle devnet {word})" for word in ("up --node", "down")
    )
    ask = "\n".join(asking).replace("$ORACLE/build/devnet/caller.key", devnet["caller_key"])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{tools}{kit}{ask} --rpc {devnet['url']}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=shell.environment | {"npm_config_offline": "true"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^setosa   True$", done.stdout, re.MULTILINE), done.stdout


def test_devnet_up__port_in_use__is_one_line(
    shell: Shell, devnet: Any, iris_bundle: Bundle
) -> None:
    port = devnet["url"].rpartition(":")[2]
    options = ("--folder", shell.folder / "second", "--bundle", iris_bundle.path)
    done = shell.run("devnet", "up", *options, "--port", port)
    assert done.returncode == 6
    line = f"CHAIN: anvil did not start: its port is in use ({port}). Stop what uses it, or take a "
    assert done.stderr.splitlines()[-1] == f"{line}free one with --port 0."


def test_devnet_up__another_port_than_it_has__is_refused(shell: Shell, devnet: Any) -> None:
    """contract-developers D14: what was asked for is not what there is."""
    place = shell.folder / "devnet"
    line = refusal(shell.run("devnet", "up", "--folder", place, "--port", 39777))
    assert line.startswith(
        f"USAGE: the devnet of {place} runs at {devnet['url']}, not on port 39777."
    )
    assert line.endswith(f"first: oracle devnet down --folder {place}.")


def test_devnet_up__with_a_node__serves_its_page(shell: Shell, devnet: dict[str, Any]) -> None:
    """contract-developers, the live page, 1: a newcomer sees it, and is told where."""
    place = ("--folder", shell.folder / "devnet")
    page = shell.json("devnet", "up", "--node", *place)["page"]
    config = Path(devnet["node_config"]).read_text()
    assert f"http_port = {page.rpartition(':')[2]}\n" in config
    assert config.count("http_port") == 1
    with urlopen(page) as answered:
        assert "<!doctype html>" in answered.read().decode().lower()
    assert f"page     {page}\n" in shell.run("devnet", "up", *place).stdout


def test_devnet_up__a_file_or_a_damaged_folder__is_one_line(shell: Shell, tmp_path: Path) -> None:
    """contract-developers D14: what is in the way is named, with what to do."""
    letter, damaged = tmp_path / "letter", tmp_path / "damaged"
    letter.write_text("dear reader")
    damaged.mkdir()
    for command in ("up", "down"):
        line = refusal(shell.run("devnet", command, "--folder", letter))
        assert f"{letter} is a file, not a folder" in line
        for state in ("{", "[]", '{"node": 1}', '{"node": null, "anvil": {}}'):
            (damaged / "devnet.json").write_text(state)
            line = refusal(shell.run("devnet", command, "--folder", damaged))
            assert "does not say what runs: it was damaged" in line
    assert letter.read_text() == "dear reader"
    unmade = shell.run("devnet", "up", "--folder", "/proc/devnet")
    assert unmade.returncode == 2
    assert "USAGE: /proc/devnet cannot be made" in unmade.stderr.splitlines()[-1]


def test_devnet_down__one_of_two__leaves_the_others_record(
    shell: Shell, devnet: Any, asked: dict[str, Any], iris_bundle: Bundle
) -> None:
    """contract-developers D7: the other devnet's commands go on as before."""
    place = shell.folder / "beside"
    options = ("--folder", place, "--bundle", iris_bundle.path, "--port", 0)
    second = shell.json("devnet", "up", *options)
    assert shell.json("devnet", "down", "--folder", place) == {"stopped": True}
    assert shell.json("result", asked["request_id"], "--rpc", devnet["url"]) == asked
    port = second["url"].rpartition(":")[2]
    records = shell.folder / "deployments" / str(CHAIN_ID)
    assert not (records / f"devnet-{port}.json").exists()


def test_devnet_up__folder_of_something_else__is_left_alone(
    shell: Shell, tmp_path: Path, iris_bundle: Bundle
) -> None:
    (tmp_path / "letter.txt").write_text("dear reader")
    done = shell.run("devnet", "up", "--folder", tmp_path, "--bundle", iris_bundle.path)
    assert done.returncode == 2
    assert "holds something else" in done.stderr
    assert (tmp_path / "letter.txt").exists()


def test_devnet_down__stops_that_one_alone_and_twice_is_no_error(
    shell: Shell, devnet: Any, iris_bundle: Bundle
) -> None:
    place = shell.folder / "other"
    environment = {"ORACLE_DEPLOYMENTS": str(shell.folder / "elsewhere")}
    options = ("--folder", place, "--bundle", iris_bundle.path, "--port", 0)
    up = shell.run("devnet", "up", *options, **environment)
    assert up.returncode == 0, up.stderr
    chain = Process(**json.loads((place / "devnet.json").read_text())["anvil"])
    assert chain.is_running
    record = shell.folder / "elsewhere" / f"{CHAIN_ID}.json"
    assert record.exists()
    assert shell.run("devnet", "down", "--folder", place, **environment).stdout.startswith("stop")
    assert not chain.is_running
    assert not record.exists(), "it told of contracts that are gone"
    assert Process(**devnet["anvil"]).is_running
    again = shell.run("devnet", "down", "--folder", place, **environment)
    assert (again.returncode, again.stdout) == (0, "no devnet is running\n")


def test_process__another_with_the_same_id__is_left_alone() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        mine = Process.of(sleeper.pid)
        Process(sleeper.pid, mine.started + 1).stop()
        assert sleeper.poll() is None
        mine.stop()
        assert sleeper.wait(PATIENCE) == -signal.SIGTERM
        assert not mine.is_running
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (("bogus",), "No such command 'bogus'. See: oracle --help."),
        (("why",), "Missing argument 'REQUEST'. See: oracle why --help."),
        (("why", "0x1", "--foo"), "No such option: --foo. See: oracle why --help."),
        (("request", "1,2", "--model", "x"), "See: oracle request --help."),
        (("devnet", "sideways"), "See: oracle devnet --help."),
    ],
    ids=str,
)
def test_wrong_usage__is_one_line_that_names_the_help(
    shell: Shell, words: tuple[str, ...], tells: str
) -> None:
    done = shell.run(*words)
    line = refusal(done)
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("USAGE: ")
    assert line.endswith(tells)


def test_reader_of_the_pipe_gone__is_no_traceback(shell: Shell) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m oracle --help | true; exit ${{PIPESTATUS[0]}}"],
        check=False,
        capture_output=True,
        text=True,
        env=shell.environment,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)


def test_interrupt__ends_without_a_traceback(shell: Shell, devnet: Any) -> None:
    options = ("--rpc", devnet["url"], "--timeout", "100")
    process = subprocess.Popen(
        [sys.executable, "-m", "oracle", "result", f"{2**255:#x}", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=shell.environment,
    )
    # Python itself has started and imported by then, however busy the machine is.
    while process.poll() is None and not talks(process.pid):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, RequestUnknown.exit_code)
    assert "Traceback" not in said


def talks(pid: int) -> bool:
    """Whether a process has a connection."""
    try:
        return any(
            fd.readlink().name.startswith("socket:") for fd in Path(f"/proc/{pid}/fd").iterdir()
        )
    except FileNotFoundError:
        return False


def test_doctor__on_this_machine__finds_every_tool(shell: Shell) -> None:
    report = shell.json("doctor")
    assert report["ok"]
    subjects = {each["subject"] for each in report["findings"]}
    assert {"python", "node", "anvil", "ezkl", "memory", "disk", "cores"} <= subjects


def test_doctor__tools_missing__names_each_and_the_remedy(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("doctor", PATH=str(tmp_path), ORACLE_BUILD_DIR=str(tmp_path / "build"))
    assert done.returncode == 3
    assert "Run: make setup" in done.stdout
    assert "Install Node.js" in done.stdout
    line = done.stderr.splitlines()[-1]
    assert line.startswith("TOOLCHAIN: this machine lacks: node, solc")
    assert "anvil" in line


def test_completion__of_bash__knows_the_commands(shell: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from oracle.cli.main import run; run()"],
        check=False,
        capture_output=True,
        text=True,
        env=shell.environment
        | {"_ORACLE_COMPLETE": "complete_bash", "COMP_WORDS": "oracle re", "COMP_CWORD": "1"},
    )
    assert {"request", "result", "refund", "retry"} <= set(done.stdout.split())
