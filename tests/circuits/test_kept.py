"""A promise holds for inputs that the build has not seen: models of many kinds, attacked.

Each model is searched as a build searches it, and attacked by code that knows nothing of the search
(`scripts.truth`), with a seed of its own. The short run draws some of them; `make test-long` and
`make bench-truth` take them all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oracle.circuits import build
from oracle.circuits.promise import Kind, Wanted
from oracle.circuits.reveal import Reveal
from oracle.circuits.row import Range
from oracle.circuits.search import Chosen
from oracle.errors import CircuitError, CircuitInaccurate, ModelUnsupported
from oracle.prover.sandbox import Sandbox
from scripts import bench_truth
from scripts.truth import listed
from scripts.truth.case import Case
from scripts.truth.target import Target, on_grid, search
from tests.sampling import is_whole, seed

#: Rows of an attack in the short run.
ROWS = 300
#: Models whose search takes a minute and more: for the long run.
SLOW = frozenset(
    {"attention", "autoencoder_digits", "cancer_robust_logistic", "cancer_svc", "cnn_digits"}
    | {"cnn_digits_deep", "digits_lightgbm", "forest_digits", "gru", "gru_reset_late", "lstm"}
    | {"lstm_both_ways", "mlp_digits", "new_block", "new_convolutions", "old_convolutions"}
    | {"old_group_norm", "old_lstm", "old_masked_attention", "old_multi_head", "old_norm_gelu"}
    | {"old_variance_head", "rnn", "soft_attention", "softmax", "steep_attention"}
    | {"svm_classifier", "svm_regressor", "transformer_block", "wine_mlp_logistic"}
)
MODELS = [name for name in listed.MAKERS if is_whole() or name not in SLOW]
#: Pipelines on real data sets, half of whose rows the build never sees.
REAL = (
    "cancer_robust_logistic",
    "cancer_logistic",
    "cancer_svc",
    "cancer_tree",
    "cancer_mlp_tanh",
    "digits_logistic",
    "digits_mlp",
    "digits_forest",
    "wine_lda",
    "wine_components_logistic",
    "wine_mlp_logistic",
    "diabetes_forest",
    "diabetes_boosting",
    "diabetes_mlp",
    "diabetes_huber",
)


def target_of(case: Case, folder: Path) -> Target:
    source = folder / "model.onnx"
    source.write_bytes(case.onnx)
    sandbox = Sandbox(build.LIMITS)
    promise = search(
        source,
        case.samples,
        max_error=case.max_error,
        reveal=Reveal.parse(case.reveal),
        sandbox=sandbox,
        work=folder,
    )
    return Target(case, promise, source, sandbox)


@pytest.mark.timeout(900)
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", MODELS)
def test_any_model__attacked__nothing_over_the_bound_and_nothing_unprovable(
    name: str, tmp_path: Path
) -> None:
    case = listed.make(name)
    try:
        target = target_of(case, tmp_path)
    except (CircuitError, ModelUnsupported):
        # Better refused than promised in vain.
        return
    found = bench_truth.attacked(target, rows=ROWS, seed=seed())
    assert (found["over_bound"], found["unprovable"]) == (0, 0), found["worst"]
    certified = found["certified_error"]
    assert certified is None or found["worst"]["error"] <= certified + 1e-9
    assert found["margin"] <= 2 * case.max_error


@pytest.mark.timeout(900)
@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", [name for name in REAL if name in MODELS])
def test_real_data__rows_never_seen__within_the_bound(name: str, tmp_path: Path) -> None:
    case = listed.make(name)
    target = target_of(case, tmp_path)
    promise = target.promise
    rows = on_grid(case.fresh, promise.input.scale)
    accepted = ((rows >= promise.low) & (rows <= promise.high)).all(axis=1)
    assert np.mean(accepted) >= 0.9
    tried = target.try_rows(rows[accepted])
    assert not tried.unprovable.any()
    over = np.flatnonzero(tried.errors > case.max_error)
    excused = bench_truth._excused(target, tried, over)
    assert len(np.setdiff1d(over, excused)) == 0
    assert len(excused) <= 0.02 * len(rows)


# --- what was promised in vain, or refused, before ------------------------------------------------


def chosen_for(
    name: str, folder: Path, *, max_error: float | None = None, wanted: Wanted | None = None
) -> Chosen:
    case = listed.make(name)
    source = folder / "model.onnx"
    source.write_bytes(case.onnx)
    work = folder / "work"
    work.mkdir()
    return build.search(
        source,
        case.samples,
        max_error=max_error or case.max_error,
        work=work,
        reveal=Reveal.parse(case.reveal),
        wanted=wanted or Wanted(),
    )


@pytest.mark.parametrize("name", ["reciprocal", "logarithm"])
def test_a_pole_in_the_margin__promised_up_to_it_and_no_further(name: str, tmp_path: Path) -> None:
    chosen = chosen_for(name, tmp_path)
    scale = chosen.found.finalists[0].input.scale
    assert all(each.low > 0 for each in chosen.promise.at(scale))
    assert any("not finite" in said for said in chosen.promise.narrowed)
    # Never narrower than the samples.
    samples = listed.make(name).samples
    assert max(each.low for each in chosen.promise.at(scale)) <= samples.min() + 2.0**-scale


def test_a_peak_between_the_samples__within_the_bound_or_refused_with_the_input(
    tmp_path: Path,
) -> None:
    case = listed.make("peak_bell")
    try:
        target = target_of(case, tmp_path)
    except CircuitInaccurate:
        return
    # All over the peak, a number of the grid at a time.
    unit = 1 << target.promise.input.scale
    steps = np.arange(max(int(target.promise.low[0]), -unit), min(target.promise.high[0], unit))
    rows = np.repeat(steps[:, np.newaxis], target.promise.input.length, axis=1)
    tried = target.try_rows(rows[:: max(1, len(rows) // 400)])
    assert np.nanmax(tried.errors) <= case.max_error
    assert not tried.unprovable.any()


def test_tokens_and_bytes__whole_numbers_of_the_vocabulary_and_the_type(tmp_path: Path) -> None:
    for name, most in (("tokens", None), ("bytes", 255.0)):
        folder = tmp_path / name
        folder.mkdir()
        samples = listed.make(name).samples
        chosen = chosen_for(name, folder)
        (best, *_) = chosen.found.finalists
        assert best.input.scale == 0
        assert chosen.promise.at(0)[0].low == max(0, samples.min())
        assert chosen.promise.at(0)[0].high == min(most or np.inf, samples.max())


def test_a_scaler_of_large_numbers__builds(tmp_path: Path) -> None:
    assert chosen_for("income", tmp_path).found.finalists


def test_a_bound_wider_than_the_answers__said(tmp_path: Path) -> None:
    chosen = chosen_for("small_answers", tmp_path, max_error=0.1)
    said = " ".join(chosen.warnings(chosen.found.finalists[0]))
    assert "no less than the spread of the answers" in said


def test_scores_that_are_compared__margin_of_twice_the_bound_at_most(tmp_path: Path) -> None:
    case = listed.make("scores_top1")
    target = target_of(case, tmp_path)
    assert 0 < target.promise.margin <= 2 * case.max_error
    random = np.random.default_rng(seed())
    span = (400, target.promise.input.length)
    tried = target.try_rows(random.integers(target.promise.low, target.promise.high, span))
    for scores, proved in zip(tried.scores, tried.proved, strict=True):
        assert proved is not None
        # Another index only where the scores are that near.
        assert scores.max() - scores[int(proved[0])] <= target.promise.margin


def test_samples_alone__measured_on_them_and_called_so(tmp_path: Path) -> None:
    case = listed.make("peak_bell")
    chosen = chosen_for("peak_bell", tmp_path, max_error=0.05, wanted=Wanted(Kind.SAMPLES))
    assert chosen.promise.kind is Kind.SAMPLES
    (attacked, *_) = chosen.attacked
    assert attacked.rows <= 2 * len(case.samples)
    assert attacked.guarantee is None


def test_a_range_that_is_asked_for__is_what_is_promised(tmp_path: Path) -> None:
    wanted = Wanted(ranges={None: Range(-4.0, 6.0), 1: Range(-3.5, 3.5)})
    chosen = chosen_for("relu", tmp_path, wanted=wanted)
    found = chosen.promise.at(chosen.found.finalists[0].input.scale)
    assert (found[0], found[1]) == (Range(-4.0, 6.0), Range(-3.5, 3.5))
    assert chosen.found.finalists[0].input_ranges
