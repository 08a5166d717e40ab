"""A node under every fault at once, on anvil: writes build/bench/faults.json.

Fails when a request was lost or answered twice, when the node crashed, or when a kind of fault did
not happen. The same seed gives the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from oracle.config import build_dir
from tests.fault.world import KINDS, opened, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=build_dir() / "bench" / "faults.json")
    parser.add_argument("--log", type=Path, help="keep the node's log here")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(Path(folder), arguments.seed, arguments.requests) as world,
    ):
        try:
            report = world.run(tell=lambda line: print(line, file=sys.stderr))
        finally:
            if arguments.log:
                arguments.log.write_text(world.lines.getvalue())
    missing = sorted(KINDS - {kind for kind, count in report["faults"].items() if count})
    report["faults_missing"] = missing
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    wrong = problems(report) + ([f"faults that did not happen: {missing}"] if missing else [])
    for problem in wrong:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
