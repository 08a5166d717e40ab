"""Write the npm package's modules, ``contracts/js/``, from their sources in ``contracts/ts/``.

Each becomes a module of either kind, ESM and CommonJS, with its types: TypeScript compiles each source
under two names. Run after changing a source: ``make abi``. A test compares them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from oracle.config import build_dir, project_root
from oracle.errors import ToolchainError

SOURCES = project_root() / "contracts" / "ts"
WRITTEN = project_root() / "contracts" / "js"
#: Where `make setup` puts TypeScript, ethers and viem.
LIBRARIES = build_dir() / "js" / "libraries"


def compiled() -> dict[str, str]:
    """The modules and their types, by file name.

    Raises:
        ToolchainError: TypeScript is not installed, or does not take the sources.
    """
    if not (LIBRARIES / "node_modules").is_dir():
        raise ToolchainError("TypeScript is not installed", remedy="Run: make setup")
    # Below the folder in which modules look for the libraries.
    with tempfile.TemporaryDirectory(dir=LIBRARIES) as folder:
        stage = Path(folder)
        shutil.copytree(SOURCES, stage / "ts")
        shutil.copytree(SOURCES.parent / "abi", stage / "abi")
        for source in (stage / "ts").glob("*.mts"):
            twin = source.read_text().replace('.mjs"', '.cjs"')
            source.with_suffix(".cts").write_text(twin)
        tsc = LIBRARIES / "node_modules" / ".bin" / "tsc"
        done = subprocess.run(
            [tsc, "-p", stage / "ts"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ToolchainError(f"the sources do not compile: {done.stdout}")
        return {path.name: path.read_text() for path in sorted((stage / "js").iterdir())}


def main() -> None:
    try:
        written = compiled()
    except ToolchainError as error:
        sys.exit(error.line())
    WRITTEN.mkdir(exist_ok=True)
    for path in WRITTEN.iterdir():
        path.unlink()
    for name, text in written.items():
        (WRITTEN / name).write_text(text)


if __name__ == "__main__":
    main()
