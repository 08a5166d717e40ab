"""Each source compiles with the oldest compiler that its pragma admits.

The two compilers of the toolchain are asked; for those between them, what each brought is looked for.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest
import solcx

from oracle.chain import artifacts
from oracle.chain.toolchain import SOLC_VERIFIERS, toolchain
from oracle.config import project_root

Version = tuple[int, ...]

#: The first compiler that knows a word of the language.
SINCE = {
    r"\bmcopy\(|\btload\(|\btstore\(": (0, 8, 24),
    r"require\([^;\"]*,\s*[A-Z]\w*\(": (0, 8, 26),
    r"\btransient\b": (0, 8, 28),
    r"\blayout at\b": (0, 8, 29),
}
CONSUMERS = (
    "contracts/InferenceConsumer.sol",
    "contracts/libraries/TensorCodec.sol",
    "contracts/examples/PlainCaller.sol",
    "contracts/interfaces/IInferenceOracle.sol",
    "contracts/interfaces/IModelRegistry.sol",
    "contracts/interfaces/IAIOracle.sol",
    "contracts/interfaces/IInputChecker.sol",
)


def version(text: str) -> Version:
    return tuple(map(int, text.split(".")))


def oldest(text: str) -> Version:
    (pragma,) = re.findall(r"^pragma solidity \^(\d+\.\d+\.\d+);$", text, re.MULTILINE)
    return version(pragma)


def sources() -> dict[str, str]:
    """Every source of ours, the template's included."""
    template = project_root() / "contracts" / "template"
    found = {str(p.relative_to(project_root())): p.read_text() for p in template.rglob("*.sol")}
    return artifacts.sources() | found


def code(text: str) -> str:
    """A source without its comments."""
    return re.sub(r"//.*|/\*[\s\S]*?\*/", "", text)


def imports(unit: str, text: str) -> list[Path]:
    """The files that a source names."""
    package, modules = "@verifiable-inference/contracts", project_root() / "node_modules"
    found = []
    for target in re.findall(r'from "([^"]+)"', text):
        if target.startswith("."):
            found.append(project_root() / PurePosixPath(unit).parent / target)
        elif target.startswith(package):
            found.append(project_root() / f"contracts{target.removeprefix(package)}")
        elif target.startswith("@openzeppelin"):
            found.append(modules / target)
    return found


def test_consumers_sources__admit_0_8_19() -> None:
    """What is missing, 6: older projects import the interfaces and the base contract."""
    assert {unit: oldest(sources()[unit]) for unit in CONSUMERS} == dict.fromkeys(
        CONSUMERS, (0, 8, 19)
    )


def test_sources_for_old_compilers__compile_with_one_for_the_evm_of_paris() -> None:
    """What is missing, 6: they need no hardfork either."""
    old = {
        unit: text
        for unit, text in artifacts.sources().items()
        if oldest(text) <= version(SOLC_VERIFIERS)
    }
    answer = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {unit: {"content": text} for unit, text in old.items()},
            "settings": {
                "evmVersion": "paris",
                "optimizer": {"enabled": True, "runs": 200},
                "outputSelection": {"*": {"*": ["evm.deployedBytecode.object"]}},
            },
        },
        solc_binary=toolchain().solc(SOLC_VERIFIERS),
        base_path=project_root(),
    )
    assert set(CONSUMERS) <= set(answer["contracts"])
    caller = answer["contracts"]["contracts/examples/PlainCaller.sol"]["PlainCaller"]
    assert caller["evm"]["deployedBytecode"]["object"]


@pytest.mark.parametrize("unit", sorted(sources()))
def test_pragma__admits_no_compiler_that_lacks_what_the_source_uses(unit: str) -> None:
    """contract-developers D13: a pragma that is too wide fails deep inside somebody's build."""
    text = sources()[unit]
    needed = [since for words, since in SINCE.items() if re.search(words, code(text))]
    needed += [
        version(found[0])
        for path in imports(unit, text)
        # OpenZeppelin's interfaces say >=.
        if (found := re.findall(r"^pragma solidity [>^=]+([\d.]+);$", path.read_text(), re.M))
    ]
    assert oldest(text) >= max(needed, default=(0, 8, 19))
