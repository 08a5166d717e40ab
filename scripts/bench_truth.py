"""Does a circuit keep what its build promises, for every input that the contract takes? ``make bench-truth``.

Each model of the list (`scripts.truth.listed`) is searched as a build with default options searches
it, on a half of its rows and with the list's bound: 2% of the outputs' spread on the samples, at most
0.05. Then it is attacked (`scripts.truth.attack`) with inputs that the contract accepts and the build
did not try, a thousand and more of them, the other half of the rows among them. What the circuit
computes, integer by integer, is compared with onnxruntime on the publisher's own file and exactly the
numbers that the integers stand for.

A row is *over the bound* where the difference exceeds it, or the file gives no number. Where an answer
jumps, that counts only outside the margin that the build states: rows whose compared numbers are
nearer to each other are counted apart. *Unprovable* is a row that the contract takes and the circuit
does not. A promise is *narrowed* where it takes less of a feature than its samples' range and a
quarter of it more on both sides; of whole numbers, less than the samples' range.

Writes ``build/bench/truth.json`` and prints a table. ``--resume`` keeps the models that are done with
the same rows and seed. A run of the whole list takes hours.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import numpy.typing as npt

from oracle.chain.toolchain import toolchain
from oracle.circuits.build import LIMITS
from oracle.circuits.bundle import MODEL
from oracle.circuits.reveal import Reveal
from oracle.config import build_dir
from oracle.errors import OracleError
from oracle.prover.sandbox import Sandbox
from scripts.bench_report import Json, Results, machine, table, write
from scripts.truth.attack import attack
from scripts.truth.case import Case
from scripts.truth.jumps import nearest
from scripts.truth.target import Floats, Promise, Target, Tried, search

Indices = npt.NDArray[np.intp]

BENCH = "truth"
ROWS = 1000
SEED = 1
#: Minutes that the search of one model may take.
MINUTES = 15.0
#: A promise exceeds the samples' range by this share of it, on both sides.
_BEYOND = 0.25
#: Numbers of a row that are written down.
_SHOWN = 64


class _TooLong(Exception):
    """The search of a model takes more time than it is given."""


def main() -> None:
    """Attack the models that were asked for, then report on all that are done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], help="these models")
    parser.add_argument("--seed", type=int, default=SEED, help="of the attack's choices")
    parser.add_argument("--rows", type=int, default=ROWS, help="inputs of a model, at least")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for the search of one")
    parser.add_argument("--resume", action="store_true", help="keep the models that are done")
    options = parser.parse_args()
    # Slow to import, and a process that attacks needs none of it.
    from scripts.truth import listed

    names = options.only or list(listed.MAKERS)
    if unknown := sorted(set(names) - listed.MAKERS.keys()):
        parser.error(f"no model is called {unknown[0]}")
    load = os.getloadavg()[0]
    results = Results.of(f"{BENCH}-{options.rows}-{options.seed}", resume=options.resume)
    waiting = [name for name in names if results.get(name) is None]
    cases = (listed.make(name) for name in waiting)
    for result in _outcomes(cases, options):
        results.put(result["name"], result)
        print("  ".join(_line(result)), flush=True)
    done = [found for name in names if (found := results.get(name)) is not None]
    summary = report(done) | {
        "seed": options.seed,
        "rows": options.rows,
        "jobs": options.jobs,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        **machine(),
    }
    target = build_dir() / "bench" / f"{BENCH}.json"
    write(target, summary)
    print(table(_HEADER, map(_line, done)))
    print(
        f"{summary['models']} models built, {len(summary['refused'])} refused, "
        f"{len(summary['narrowed'])} narrowed; of {summary['inputs_tried']:,} inputs "
        f"{summary['over_bound']:,} over the bound and {summary['unprovable']:,} unprovable, "
        f"in {len(summary['broken'])} models; {len(summary['failed'])} attacks failed"
    )
    print(f"written to {target}")


def _outcomes(cases: Iterator[Case], options: argparse.Namespace) -> Iterator[Json]:
    """What came of each case, in the order in which they end."""
    settings = (options.rows, options.seed, options.minutes)
    if options.jobs == 1:
        for case in cases:
            yield outcome(case, *settings)
        return
    context = multiprocessing.get_context("spawn")
    parent = (os.getpid(),)
    with ProcessPoolExecutor(options.jobs, context, _end_with, parent) as pool:
        yield from (
            each.result()
            for each in as_completed([pool.submit(outcome, case, *settings) for case in cases])
        )


def _end_with(parent: int) -> None:
    """Let this process end when its parent is gone: it would wait for more work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# --- one model ------------------------------------------------------------------------------------


def outcome(case: Case, rows: int, seed: int, minutes: float = MINUTES) -> Json:
    """Search a case, attack what was found, and say what came of it; or why it was refused."""
    started = time.monotonic()
    about: Json = {
        "name": case.name,
        "kind": case.kind,
        "reveal": case.reveal,
        "max_error": case.max_error,
        "load": os.getloadavg()[0],
    }

    def progress(_: str) -> None:
        if time.monotonic() > started + 60 * minutes:
            raise _TooLong

    with tempfile.TemporaryDirectory(prefix="bench-truth-") as temporary:
        work = Path(temporary)
        source = work / MODEL
        source.write_bytes(case.onnx)
        sandbox = Sandbox(LIMITS, toolchain().ezkl_home)
        try:
            promise = search(
                source,
                case.samples,
                max_error=case.max_error,
                reveal=Reveal.parse(case.reveal),
                sandbox=sandbox,
                work=work,
                progress=progress,
            )
        except OracleError as error:
            reason = error.line()
        except _TooLong:
            reason = f"not searched to the end within {minutes:g} minutes"
        else:
            about["search_seconds"] = time.monotonic() - started
            target = Target(case, promise, source, sandbox)
            try:
                about |= attacked(target, rows=rows, seed=seed)
            except OracleError as error:
                about["failed"] = error.line()
            return about | {"seconds": time.monotonic() - started}
    return about | {"reason": reason, "seconds": time.monotonic() - started}


def attacked(target: Target, *, rows: int, seed: int) -> Json:
    """What an attack of so many rows finds."""
    promise, bound = target.promise, target.case.max_error
    found = attack(target, rows=rows, seed=seed)
    tried = found.tried
    beyond = np.flatnonzero(tried.errors > bound)
    excused = _excused(target, tried, beyond)
    over = np.setdiff1d(beyond, excused)
    unprovable = np.flatnonzero(tried.unprovable)
    counted = tried.errors.copy()
    counted[excused] = 0
    worst = int(np.nanargmax(counted)) if len(unprovable) < len(counted) else None
    run_args = promise.settings["run_args"]
    return {
        "logrows": run_args["logrows"],
        "scale": promise.input.scale,
        "promised": [
            float(np.ldexp(promise.low.min(), -promise.input.scale)),
            float(np.ldexp(promise.high.max(), -promise.input.scale)),
        ],
        "narrowed": is_narrowed(promise, target.case.samples),
        "inputs_tried": len(tried.rows),
        "over_bound": len(over),
        "within_margin": len(excused),
        "unprovable": len(unprovable),
        "measured_error": promise.measured,
        "certified_error": promise.certified,
        "margin": promise.margin,
        "worst": None if worst is None else _row(target, tried, worst, found.sources[worst]),
        "first_unprovable": _row(target, tried, unprovable[0], found.sources[unprovable[0]])
        if len(unprovable)
        else None,
        "sources": _by_source(found.sources, over, unprovable),
    }


def is_narrowed(promise: Promise, samples: Floats) -> bool:
    """Whether a promise takes less of a feature than its samples' range and a quarter more."""
    rows = np.asarray(samples, dtype=np.float64)
    low, high = rows.min(axis=0), rows.max(axis=0)
    is_float = np.concatenate(
        [np.full(info.length, info.is_float) for info in promise.scored.inputs]
    )
    beyond = np.where(is_float, _BEYOND * (high - low), 0)
    unit = 2.0**-promise.input.scale
    least, most = promise.low * unit, promise.high * unit
    return bool((least > low - beyond + unit).any() or (most < high + beyond - unit).any())


def _excused(target: Target, tried: Tried, beyond: Indices) -> Indices:
    """Of rows beyond the bound those that are within the margin of a jump."""
    margin = target.promise.margin
    if not len(beyond) or margin <= 0:
        return beyond[:0]
    revealed = target.promise.revealed
    near = nearest(revealed.data, revealed.input_name, target.reals(tried.rows[beyond]))
    return beyond[near < margin]


def _row(target: Target, tried: Tried, index: int, source: str) -> Json:
    """One row, with numbers that are none as text."""
    inputs = target.reals(tried.rows[index])
    return {
        "source": source,
        "input": inputs[:_SHOWN].tolist(),
        "expected": [_number(value) for value in tried.scores[index][:_SHOWN].tolist()],
        "proved": None if tried.proved[index] is None else (tried.proved[index] or [])[:_SHOWN],
        "error": _number(float(tried.errors[index])),
    }


def _number(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)


def _by_source(sources: Sequence[str], over: Indices, unprovable: Indices) -> Json:
    """Of each source, how many rows were tried, over the bound, unprovable."""
    found = {name: [0, 0, 0] for name in dict.fromkeys(sources)}
    for column, indices in enumerate((range(len(sources)), over.tolist(), unprovable.tolist())):
        for index in indices:
            found[sources[index]][column] += 1
    return dict(found)


# --- the report -----------------------------------------------------------------------------------

_HEADER = (
    "model",
    "kind",
    "policy",
    "rows",
    "bound",
    "tried",
    "over",
    "unprovable",
    "worst",
    "found by",
    "s",
)


def report(done: Sequence[Json]) -> Json:
    """The figures over all models that are done."""
    built = [result for result in done if not {"reason", "failed"} & result.keys()]
    bounds = [result for result in built if result["certified_error"] is not None]
    return {
        "models": len(built),
        "refused": {result["name"]: result["reason"] for result in done if "reason" in result},
        # The attack did not come to its end, so nothing is known of them.
        "failed": {result["name"]: result["failed"] for result in done if "failed" in result},
        "narrowed": [result["name"] for result in built if result["narrowed"]],
        "broken": [
            result["name"] for result in built if result["over_bound"] or result["unprovable"]
        ],
        "inputs_tried": sum(result["inputs_tried"] for result in built),
        "over_bound": sum(result["over_bound"] for result in built),
        "within_margin": sum(result["within_margin"] for result in built),
        "unprovable": sum(result["unprovable"] for result in built),
        "certified": sum(result["certified_error"] <= result["max_error"] for result in bounds)
        if bounds
        else None,
        "details": list(done),
    }


def _line(result: Json) -> list[str]:
    """A line of the table."""
    about = [result["name"], result["kind"], result["reveal"]]
    seconds = f"{result['seconds']:.0f}"
    if reason := result.get("reason") or result.get("failed"):
        code = reason.partition(":")[0][:30]
        return [*about, "-", f"{result['max_error']:.2g}", "-", "-", "-", "-", code, seconds]
    worst = result["worst"]
    error = float(worst["error"]) / result["max_error"] if worst else float("nan")
    return [
        *about,
        f"2^{result['logrows']}",
        f"{result['max_error']:.2g}",
        str(result["inputs_tried"]),
        str(result["over_bound"]),
        str(result["unprovable"]),
        f"{error:.2f}x",
        worst["source"] if worst else "-",
        seconds,
    ]


if __name__ == "__main__":
    main()
