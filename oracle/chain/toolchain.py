"""solc, anvil and forge from npm packages, and Solidity compilation with a cache.

No native solc is on PyPI or npm, so the WebAssembly build is wrapped in a shell script that
answers like the native one. ``python -m oracle.chain.toolchain`` writes the wrappers (idempotent)
and is part of ``make setup``. Not imported by the daemon.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import solcx
from solcx.exceptions import SolcError

from oracle.config import build_dir, project_root
from oracle.errors import SolidityRejected, ToolchainError

#: Compiler of the hand-written contracts.
SOLC_CONTRACTS = "0.8.37"
#: Compiler of ezkl's generated verifiers; ezkl itself asks for this one.
SOLC_VERIFIERS = "0.8.20"

#: What to do where there are no sources to set up.
NO_CHECKOUT = "Set ORACLE_ROOT to a checkout of the project in which make setup was run"

_PACKAGES = {
    SOLC_CONTRACTS: ("solc", "0.8.37+commit.f401782d.Emscripten.clang"),
    SOLC_VERIFIERS: ("solc-0.8.20", "0.8.20+commit.a1b79de6.Emscripten.clang"),
}
#: ezkl compiles a verifier that it has written, for an interface that nobody reads: it is answered
#: with an empty one, in a hundredth of the time. `oracle.circuits.verifier` compiles what counts.
_NO_COMPILER = r"""
file=$(sed -n 's/^.*"sources":{\("[^"]*"\):.*$/\1/p')
printf '{"sources":{},"contracts":{%s:{"Halo2Verifier":{"abi":[]}}}}' "$file"
"""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Paths of the installed wrappers; one that is asked for and not there is a ToolchainError."""

    #: Folder with ``anvil``, ``forge`` and ``solc-v*``; goes on PATH and into SOLCX_BINARY_PATH.
    bin: Path
    #: A private HOME for ezkl's children, where ezkl finds what it takes for its solc.
    ezkl_home: Path

    def solc(self, version: str) -> Path:
        """Path of the wrapper for one compiler version."""
        return self._installed(f"solc-v{version}", f"solc {version}")

    @property
    def anvil(self) -> Path:
        """Path of the devnet node."""
        return self._installed("anvil")

    @property
    def forge(self) -> Path:
        """Path of Foundry's test runner."""
        return self._installed("forge")

    def _installed(self, name: str, title: str | None = None) -> Path:
        path = self.bin / name
        if not path.exists():
            in_checkout = (project_root() / "contracts").is_dir()
            raise ToolchainError(
                f"{title or name} is not installed",
                remedy="Run: make setup" if in_checkout else NO_CHECKOUT,
            )
        return path


def toolchain() -> Toolchain:
    """Where `make setup` installs the tools, whether it has run or not."""
    home = build_dir() / "toolchain"
    return Toolchain(bin=home / "bin", ezkl_home=home / "home")


def install() -> Toolchain:
    """Write the wrappers for the npm packages in ``node_modules``."""
    modules = project_root() / "node_modules"
    node = shutil.which("node")
    if node is None:
        raise ToolchainError("node is not on PATH", remedy="Install Node.js 18 or newer")
    result = toolchain()
    result.bin.mkdir(parents=True, exist_ok=True)
    for version, (package, _) in _PACKAGES.items():
        if not (modules / package).is_dir():
            raise ToolchainError(f"npm package {package} is missing", remedy="Run: make setup")
        command = shlex.join(
            [node, str(project_root() / "scripts" / "solc.cjs"), str(modules), package]
        )
        _write_executable(result.bin / f"solc-v{version}", _solc(version, f"exec {command}"))
    ezkl_solc = result.ezkl_home / ".svm" / SOLC_VERIFIERS / f"solc-{SOLC_VERIFIERS}"
    ezkl_solc.parent.mkdir(parents=True, exist_ok=True)
    _write_executable(ezkl_solc, _solc(SOLC_VERIFIERS, _NO_COMPILER))
    for tool in (result.bin / "anvil", result.bin / "forge"):
        binary = _foundry_binary(modules, tool)
        _write_executable(tool, f'#!/bin/sh\nexec {shlex.quote(str(binary))} "$@"\n')
    return result


def _foundry_binary(modules: Path, wrapper: Path) -> Path:
    """Foundry's program from npm, or where there is none for this platform, from PATH."""
    name = wrapper.name
    packaged = sorted((modules / "@foundry-rs").glob(f"{name}-*/bin/{name}"))
    if packaged:
        return packaged[0]
    found = shutil.which(name)
    if found is None or Path(found) == wrapper:
        raise ToolchainError(f"{name} is missing", remedy="Install Foundry and put it on PATH")
    return Path(found)


def compile_solidity(
    sources: Mapping[str, str],
    *,
    version: str,
    runs: int,
    evm_version: str,
    via_ir: bool = False,
) -> dict[str, Any]:
    """Compile sources; the answer is cached by the hash of the exact compiler input.

    Args:
        sources: unit name to source text. Imports must be in here or in an npm package.
        version: `SOLC_CONTRACTS` or `SOLC_VERIFIERS`.
        runs: the optimizer's runs.
        evm_version: name of the hardfork to compile for.
        via_ir: compile through Yul; generated verifiers do not compile that way.

    Returns:
        solc's ``contracts`` object: unit -> contract name -> {abi, evm}.

    Raises:
        SolidityRejected: the first error that the compiler reports.
    """
    asked = standard_input(sources, runs=runs, evm_version=evm_version, via_ir=via_ir)
    key = hashlib.sha256(
        json.dumps([version, _locked_packages(), asked], sort_keys=True).encode()
    ).hexdigest()
    cache = build_dir() / "solc" / f"{key}.json"
    cache.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that want the same: one compiles, the other waits and reads.
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cache.exists():
            partial = cache.with_suffix(".partial")
            partial.write_text(json.dumps(_compile(asked, version)))
            partial.replace(cache)
    return dict(json.loads(cache.read_text()))


def _compile(asked: dict[str, Any], version: str) -> dict[str, Any]:
    try:
        output = solcx.compile_standard(
            asked, solc_binary=toolchain().solc(version), base_path=project_root()
        )
    except SolcError as error:
        raise SolidityRejected(str(error)) from error
    return dict(output["contracts"])


def standard_input(
    sources: Mapping[str, str], *, runs: int, evm_version: str, via_ir: bool
) -> dict[str, Any]:
    """The compiler's standard JSON input for some sources; see `compile_solidity`."""
    return {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sorted(sources.items())},
        "settings": {
            "optimizer": {"enabled": True, "runs": runs},
            "viaIR": via_ir,
            "evmVersion": evm_version,
            # No metadata hash: the bytecode depends on the code alone, not on comments or paths.
            "metadata": {"bytecodeHash": "none"},
            "outputSelection": {
                "*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}
            },
        },
    }


def long_version(version: str) -> str:
    """A compiler version with its commit, as explorers name it."""
    release, _, rest = _PACKAGES[version][1].partition("+")
    return f"{release}+{'.'.join(rest.split('.')[:2])}"


def _locked_packages() -> str:
    """The npm lock, which pins every source that an import can reach."""
    return (project_root() / "package-lock.json").read_text()


def _solc(version: str, compiles: str) -> str:
    """A shell script that answers like solc; ``compiles`` is what it runs to compile."""
    # Answering --version in the shell spares py-solc-x a start of node before every call.
    return f"""#!/bin/sh
case "$1" in
--version)
    echo "solc, the solidity compiler commandline interface"
    echo "Version: {_PACKAGES[version][1]}"
    exit 0 ;;
esac
{compiles.strip()}
"""


def _write_executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


if __name__ == "__main__":
    print(install().bin)
