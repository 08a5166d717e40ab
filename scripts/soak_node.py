"""A node under steady load for a long time: ``make soak MINUTES=30``.

Writes ``build/bench/soak.json``: samples of the node's resident memory, open files and threads, and
their slopes over the second half. Fails if they are not flat, or if a request went unanswered: the
last quarter is compared with the second one, since the first fills caches.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oracle import demo
from oracle.config import build_dir
from oracle.store.states import RequestState
from scripts.bench_node import bench, wait_until
from scripts.bench_report import machine, write

#: Seconds between two samples, and between two requests.
_SAMPLE = 1.0
_PACE = 2.0
#: Growth from the second quarter to the last that still counts as flat (MiB): the allocator's.
_FLAT_MB = 3.0


@dataclass(frozen=True)
class Sample:
    """What the process held at a time."""

    #: Since the start.
    seconds: float
    rss_mb: float
    files: int
    threads: int


def sample(pid: int, seconds: float) -> Sample:
    """Look at a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return Sample(
        seconds=seconds,
        rss_mb=int(status.split("VmRSS:")[1].split()[0]) / 1024,
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=int(status.split("Threads:")[1].split()[0]),
    )


def run(minutes: float) -> dict[str, Any]:
    """Ask at a steady pace and look at the node."""
    samples: list[Sample] = []
    asked: list[demo.Asked] = []
    with bench("soak", demo.iris_bundle(lambda _: None)) as here, here.node() as node:
        node.wait_for_event("ready", 60)
        started = time.monotonic()
        while (now := time.monotonic() - started) < 60 * minutes:
            if now >= _PACE * len(asked):
                asked.append(here.ask())
            samples.append(sample(node.pid, now))
            time.sleep(max(0.0, _SAMPLE * len(samples) - (time.monotonic() - started)))
        store = here.store()
        wait_until(lambda: store.counts().get(RequestState.FINAL, 0) >= len(asked), node, 0.1)
        store.close()
    second, last = _quarter(samples, 1), _quarter(samples, 3)
    half = samples[len(samples) // 2 :]
    return {
        "minutes": minutes,
        "answered": len(asked),
        "rss_mb_growth": _median(last, "rss_mb") - _median(second, "rss_mb"),
        "files_growth": _median(last, "files") - _median(second, "files"),
        "threads_growth": _median(last, "threads") - _median(second, "threads"),
        "rss_mb_per_hour": _slope(half, "rss_mb"),
        "files_per_hour": _slope(half, "files"),
        "rss_mb_peak": max(each.rss_mb for each in samples),
        "samples": [asdict(each) for each in samples],
    }


def _quarter(samples: Sequence[Sample], number: int) -> Sequence[Sample]:
    size = len(samples) // 4
    return samples[number * size : (number + 1) * size]


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(np.median([getattr(each, name) for each in samples]))


def _slope(samples: Sequence[Sample], name: str) -> float:
    hours = [each.seconds / 3600 for each in samples]
    return float(np.polyfit(hours, [getattr(each, name) for each in samples], 1)[0])


def main() -> None:
    """Run, write, judge."""
    parser = argparse.ArgumentParser(description="A node under steady load.")
    parser.add_argument("--minutes", type=float, default=30)
    result = run(parser.parse_args().minutes)
    write(build_dir() / "bench" / "soak.json", result | machine())
    shown = {name: value for name, value in result.items() if name != "samples"}
    print(", ".join(f"{name} {value:.4g}" for name, value in shown.items()))
    if result["rss_mb_growth"] > _FLAT_MB or result["files_growth"] > 0:
        raise SystemExit("memory or open files are not flat")


if __name__ == "__main__":
    main()
