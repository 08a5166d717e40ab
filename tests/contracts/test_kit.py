"""The npm package `@verifiable-inference/contracts`: what is in it, and that it works elsewhere.

It is packed, installed into an empty project and used there as Foundry and Hardhat use it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import solcx

from oracle import __version__
from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.config import project_root

PACKAGE = "@verifiable-inference/contracts"
CONTRACTS = project_root() / "contracts"
MANIFEST = json.loads((CONTRACTS / "package.json").read_text())


def run(folder: Path, *command: str) -> str:
    """What a command prints that a developer gives in their project."""
    environment = os.environ | {
        "PATH": f"{toolchain().bin}:{os.environ['PATH']}",
        "FOUNDRY_OFFLINE": "true",
        "FOUNDRY_SOLC": str(toolchain().solc(SOLC_CONTRACTS)),
        "ORACLE": str(project_root()),
        "npm_config_offline": "true",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder after the page's commands, up to the tests."""
    folder = tmp_path_factory.mktemp("gardener")
    page = (project_root() / "docs" / "contract-developers.md").read_text()
    (commands,) = re.findall(r"```sh\n(npm pack .*?)```", page, re.DOTALL)
    lines = commands.splitlines()
    assert lines[3:] == ["forge test", "ape test"]
    run(folder, "sh", "-euc", "\n".join(lines[:3]))
    return folder


@pytest.fixture(scope="module")
def installed(project: Path) -> Path:
    return project / "node_modules" / PACKAGE


def compiled(source: str, remappings: list[str], base: Path) -> dict[str, Any]:
    """What solc makes of one file and all that it imports, read from disk below `base`."""
    settings = {
        "remappings": remappings,
        "evmVersion": "cancun",
        "outputSelection": {"*": {"*": ["abi"]}},
    }
    with contextlib.chdir(base):
        answer = solcx.compile_standard(
            {
                "language": "Solidity",
                "sources": {"src/My.sol": {"content": source}},
                "settings": settings,
            },
            solc_binary=toolchain().solc(SOLC_CONTRACTS),
        )
    return {name: found for unit in answer["contracts"].values() for name, found in unit.items()}


def test_package__has_the_projects_name_version_and_licence() -> None:
    assert MANIFEST["name"] == PACKAGE
    assert MANIFEST["version"] == __version__
    assert (CONTRACTS / "LICENSE").read_text() == (project_root() / "LICENSE").read_text()
    assert json.loads((project_root() / "package.json").read_text())["private"] is True
    used = json.loads((project_root() / "package.json").read_text())["dependencies"]
    oz = "@openzeppelin/contracts"
    peers = MANIFEST["peerDependencies"]
    assert peers == {oz: f"^{used[oz]}", "ethers": "^6.0.0", "viem": "^2.0.0"}
    assert MANIFEST["peerDependenciesMeta"] == {name: {"optional": True} for name in peers}


def test_package__holds_every_contract_but_the_tests_own(installed: Path) -> None:
    packed = {str(path.relative_to(installed)) for path in installed.rglob("*.sol")}
    written = {str(path.relative_to(CONTRACTS)) for path in CONTRACTS.rglob("*.sol")}
    assert packed == {path for path in written if not path.startswith("test/")}
    assert not [path for path in packed if path.startswith("test")]
    folders = {path.name for path in installed.iterdir() if path.is_dir()}
    assert folders == {"abi", "examples", "interfaces", "js", "libraries", "mocks", "template"}


def test_consumer_and_mock__need_no_other_package(installed: Path) -> None:
    """Whatever a consumer's project imports resolves inside the package."""
    seen, todo = set(), [installed / "mocks" / "MockInferenceOracle.sol"]
    todo += [installed / "InferenceConsumer.sol", *(installed / "examples").glob("*.sol")]
    while todo:
        path = todo.pop().resolve()
        if path in seen:
            continue
        seen.add(path)
        for target in re.findall(r'from "([^"]+)"', path.read_text()):
            assert target.startswith("."), (path, target)
            todo.append(path.parent / target)
    assert len(seen) > 10


@pytest.mark.parametrize("name", ["PlainCaller", "PredictionConsumer", "PromptCaller"])
def test_example__copied_as_the_packages_page_says__compiles(installed: Path, name: str) -> None:
    (line,) = re.findall(
        r"^.*a copy of one.*$", (installed / "README.md").read_text(), re.MULTILINE
    )
    before, after = re.findall("`([^`]*)`", line)[1:3]
    source = (installed / "examples" / f"{name}.sol").read_text().replace(f'"{before}', f'"{after}')
    base = installed.parents[2]
    assert name in compiled(source, [f"{PACKAGE}/=node_modules/{PACKAGE}/"], base)


@pytest.mark.parametrize("name", ["InferenceOracle", "ModelRegistry", "InferenceLens"])
def test_package__carries_the_abis_as_json_and_as_modules(installed: Path, name: str) -> None:
    """What is missing, 2: they are imported from the package."""
    constant = f"{name[0].lower()}{name[1:]}Abi"
    asked = f"import {{{constant} as abi}} from '{PACKAGE}/abi/{name}.mjs';"
    asked += "console.log(JSON.stringify(abi))"
    loaded = run(installed.parents[2], "node", "--input-type=module", "-e", asked)
    committed = (installed / "abi" / f"{name}.json").read_text()
    assert json.loads(loaded) == json.loads(committed)
    types = (installed / "abi" / f"{name}.d.mts").read_text()
    head = f"export declare const {constant}: "
    assert types.startswith(head)
    # The type of a constant is its value: without the marks it is the ABI again.
    body = types.removeprefix(head).rstrip(";\n").replace("readonly ", "").replace("; ", ", ")
    assert json.loads(body) == json.loads(committed)


def test_template__with_foundry__passes(project: Path) -> None:
    report = json.loads(run(project, "forge", "test", "--json"))
    (suite,) = report.values()
    results = suite["test_results"]
    assert len(results) == 6
    assert {result["status"] for result in results.values()} == {"Success"}


def test_template__with_a_smaller_callback__fails_in_foundry(project: Path) -> None:
    """The template's tests see what they are there for."""
    source = project / "src" / "Gardener.sol"
    text = source.read_text()
    source.write_text(text.replace("CALLBACK_GAS = 60_000", "CALLBACK_GAS = 20_000"))
    try:
        with pytest.raises(AssertionError, match="raise CALLBACK_GAS"):
            run(project, "forge", "test")
    finally:
        source.write_text(text)


def test_template__with_hardhats_imports__compiles(project: Path) -> None:
    """Hardhat takes an import that is not relative from ``node_modules``."""
    source = (project / "src" / "Gardener.sol").read_text()
    found = compiled(source, [], project / "node_modules")
    assert found["Gardener"]["abi"]
    mock = (project / "src" / "mocks" / "TestOracle.sol").read_text()
    assert compiled(mock, [], project / "node_modules")["TestOracle"]["abi"]


def test_template__with_the_documented_remappings__compiles(project: Path) -> None:
    page = (project_root() / "docs" / "contract-developers.md").read_text()
    (row,) = re.findall(r"^\| Foundry \| (.*) \|$", page, re.MULTILINE)
    from_npm, from_lib = (json.loads(text) for text in re.findall(r"`remappings = (\[.*?\])`", row))
    assert f"remappings = {json.dumps(from_npm)}" in (project / "foundry.toml").read_text()
    library = project / re.findall(r"this repository in `([^`]+)`", row)[0]
    library.mkdir(parents=True)
    (library / "contracts").symlink_to(project / "node_modules" / PACKAGE)
    source = (project / "src" / "Gardener.sol").read_text()
    for remappings in (from_npm, from_lib):
        assert compiled(source, remappings, project)["Gardener"]["abi"]


def test_oracle_itself__compiles_from_the_package_with_openzeppelins(installed: Path) -> None:
    """For tests against the real thing: the peer dependency is all it needs."""
    modules = installed.parents[1]
    (modules / "@openzeppelin").symlink_to(project_root() / "node_modules" / "@openzeppelin")
    source = f'import "{PACKAGE}/InferenceOracle.sol";'
    assert compiled(source, [], modules)["InferenceOracle"]["abi"]
