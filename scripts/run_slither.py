"""Run slither on the hand-written contracts as they are compiled: ``python scripts/run_slither.py``.

Slither alone compiles each file with default settings; here it gets the same standard JSON input
(optimizer, IR, EVM version) as `oracle.chain.artifacts`. Arguments are passed on to slither.
"""

from __future__ import annotations

import json
import subprocess
import sys

from oracle.chain.artifacts import EVM_VERSION, OPTIMIZER_RUNS, VIA_IR, sources
from oracle.chain.toolchain import SOLC_CONTRACTS, toolchain
from oracle.config import build_dir, project_root

#: Detectors that are not run, each with its reason.
EXCLUDED = {
    "assembly": "solhint holds inline assembly to the two libraries that need it",
    "low-level-calls": "withdrawTo pays with the only one, and checks its answer",
    "calls-loop": "a batch calls the oracle's own pure text coder; callbacks get exact gas",
    "incorrect-equality": "hashes, codecs and a deposit of nothing are exact; no balance is compared",
    "uninitialized-local": "structs in memory start zeroed, and are filled field by field",
    # Those of 0.8.19 to 0.8.22: verbatim, own optimizer steps, `.selector` of what a call returns.
    "solc-version": "consumers compile with what they have; sources avoid what had bugs in it",
    "timestamp": "deadlines are in seconds; a validator's drift of some seconds does not matter",
}


def main() -> int:
    audited = {name: text for name, text in sources().items() if "/test/" not in name}
    target = build_dir() / "slither.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        json.dumps(
            {
                "language": "Solidity",
                "sources": {name: {"content": text} for name, text in audited.items()},
                "settings": {
                    "optimizer": {"enabled": True, "runs": OPTIMIZER_RUNS},
                    "viaIR": VIA_IR,
                    "evmVersion": EVM_VERSION,
                    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
                },
            }
        )
    )
    solc = str(toolchain().solc(SOLC_CONTRACTS))
    slither = [sys.executable, "-m", "slither", str(target), "--solc", solc]
    slither += ["--solc-disable-warnings", "--exclude", ",".join(EXCLUDED), *sys.argv[1:]]
    return subprocess.run(slither, cwd=project_root(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
