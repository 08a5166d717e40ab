"""The committed modules are what their sources make, and each kind has the same in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.export_js import WRITTEN, compiled
from tests.js.project import run

ASKED = """
const names = (loaded) => Object.keys(loaded).filter((name) => name !== "default").sort().join();
const { createRequire } = await import("node:module");
const name = "@verifiable-inference/contracts" + process.argv[1];
const [esm, cjs] = [await import(name), createRequire(process.cwd() + "/x.js")(name)];
if (names(esm) !== names(cjs)) throw new Error(`${names(esm)} and ${names(cjs)}`);
console.log(names(esm));
"""


def test_modules__are_generated_from_the_present_sources() -> None:
    committed = {path.name: path.read_text() for path in WRITTEN.iterdir()}
    assert committed == compiled(), "run: make abi"


@pytest.mark.parametrize("entry", ["", "/ethers", "/viem"])
def test_modules__of_either_kind__have_the_same_in_them(workshop: Path, entry: str) -> None:
    names = set(run(workshop, "node", "--input-type=module", "-e", ASKED, entry).strip().split(","))
    assert {"encode", "decode", "InferenceError", "signedRequestTypes", "InferenceClient"} <= names
    assert ("inferenceClient" in names) == bool(entry)


@pytest.mark.parametrize("library", ["ethers", "viem"])
def test_package__without_the_other_library__works(
    package: Path, tmp_path: Path, library: str
) -> None:
    """Neither is needed for what does not use it; the plain entry needs none."""
    project = tmp_path / "project"
    place = project / "node_modules" / "@verifiable-inference" / "contracts"
    place.parent.mkdir(parents=True)
    place.symlink_to(package)
    asked = 'await import("@verifiable-inference/contracts"); console.log("loaded")'
    assert run(project, "node", "--input-type=module", "-e", asked) == "loaded\n"
    missing = f'await import("@verifiable-inference/contracts/{library}")'
    caught = f"try {{ {missing} }} catch (error) {{ console.log(error.code) }}"
    said = run(project, "node", "--input-type=module", "-e", caught)
    assert said == "ERR_MODULE_NOT_FOUND\n"
