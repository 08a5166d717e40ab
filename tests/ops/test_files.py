"""What is shipped for systemd and containers fits the program."""

from __future__ import annotations

import configparser
import re
import shlex

import pytest
from typer.testing import CliRunner

from oracle import node
from oracle.cli.main import app
from oracle.config import NodeConfig, load_node_config, project_root
from oracle.errors import ConfigError

OPS = project_root() / "deployments" / "ops"


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((OPS / "oracle-node.service").read_text())
    return parser


def options(*command: str) -> str:
    # Wide: a wrapped help text hides words.
    return str(CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output)


def test_unit__its_command_exists(unit: configparser.ConfigParser) -> None:
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/oracle")
    assert words[:2] == ["node", "run"]
    assert all(word in options("node", "run") for word in words if word.startswith("--"))


def test_unit__waits_longer_than_a_shutdown_takes(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed", "the node ends its provers itself"
    drain = NodeConfig.model_fields["drain_seconds"].get_default()
    assert int(service["TimeoutStopSec"]) > drain + node._STEP_SECONDS
    assert int(service["WatchdogSec"]) > 3 * node._WATCHDOG_SECONDS


def test_unit__wrong_configuration_is_not_tried_again_and_an_outage_is_tried_for_ever(
    unit: configparser.ConfigParser,
) -> None:
    assert int(unit["Service"]["RestartPreventExitStatus"]) == ConfigError.exit_code
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_unit__runs_as_nobody_in_particular(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["User"] not in ("", "root")
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""


def test_container__runs_as_a_user_and_installs_what_is_locked() -> None:
    text = (OPS / "Containerfile").read_text()
    assert "--require-hashes -r requirements" in text
    assert int(re.findall(r"^USER (\d+)$", text, flags=re.MULTILINE)[-1]) > 0
    for name in re.findall(r"^COPY (?!--from)(.*) \S+$", text, flags=re.MULTILINE):
        assert all((project_root() / each).exists() for each in name.split()), name
    for name in re.findall(r"ORACLE_NODE__(\w+)=", text):
        assert name.lower() in NodeConfig.model_fields
    assert "/livez" in text


def test_locks__the_nodes_is_part_of_the_whole_one() -> None:
    """What is tested is what is installed."""
    pin = re.compile(r"^([\w.-]+)==(\S+)", flags=re.MULTILINE)
    whole = dict(pin.findall((project_root() / "requirements.lock").read_text()))
    node_ = dict(pin.findall((project_root() / "requirements-node.lock").read_text()))
    assert node_.items() <= whole.items()
    assert "web3" in node_
    assert not {"pytest", "eth-ape", "mypy", "scikit-learn"} & node_.keys()


def test_example__is_a_valid_configuration() -> None:
    config = load_node_config(OPS / "node.toml")
    assert config.http_port
    assert config.log_format == "json"
