"""Operators of ``ai.onnx.ml``: the rewriting gives what onnxruntime gives, in the circuit too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from oracle.circuits.srs import SrsSource
from oracle.errors import ModelUnsupported
from tests.circuits.lowered import (
    FLOAT,
    INT64,
    Floats,
    assert_same,
    circuit_error,
    classifier,
    graph_of,
    loaded,
    one_node,
    proved,
    rewritten,
)

ML = "ai.onnx.ml"
SLOW = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SEEDS = st.integers(0, 2**32 - 1)


def rows_of(width: int, seed: int = 0, count: int = 8) -> Floats:
    """Rows on the circuit's grid, so that comparisons see what the float model sees."""
    return np.random.default_rng(seed).integers(-1024, 1024, size=(count, width)) / 512


def weights(rng: np.random.Generator, *shape: int) -> list[float]:
    return [float(v) for v in rng.normal(size=shape).ravel().astype(np.float32)]


def ensemble(
    rng: np.random.Generator, *, trees: int, depth: int, width: int, prefix: str, ids: list[int]
) -> dict[str, Any]:
    """Attributes of random complete trees; every leaf has a weight for each of ``ids``."""
    nodes: dict[str, list[Any]] = {
        name: []
        for name in (
            "treeids",
            "nodeids",
            "featureids",
            "values",
            "modes",
            "truenodeids",
            "falsenodeids",
        )
    }
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    inner = 2**depth - 1
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"]
    for tree in range(trees):
        for index in range(2 ** (depth + 1) - 1):
            leaf = index >= inner
            nodes["treeids"].append(tree)
            nodes["nodeids"].append(index)
            nodes["featureids"].append(0 if leaf else int(rng.integers(width)))
            nodes["values"].append(0.0 if leaf else float(rng.integers(-8, 8)) / 4)
            nodes["modes"].append("LEAF" if leaf else modes[int(rng.integers(len(modes)))])
            nodes["truenodeids"].append(0 if leaf else 2 * index + 1)
            nodes["falsenodeids"].append(0 if leaf else 2 * index + 2)
            for target in ids if leaf else ():
                leaves["treeids"].append(tree)
                leaves["nodeids"].append(index)
                leaves["ids"].append(target)
                leaves["weights"].append(float(np.float32(rng.normal())))
    return {f"nodes_{k}": v for k, v in nodes.items()} | {
        f"{prefix}_{k}": v for k, v in leaves.items()
    }


# --- preprocessing --------------------------------------------------------------------------------


@SLOW
@given(seed=SEEDS)
def test_scaler__random_offsets_and_scales(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = one_node("Scaler", 3, domain=ML, offset=weights(rng, 3), scale=weights(rng, 3))
    assert_same(model, tmp_path, rows_of(3, seed))


@pytest.mark.parametrize("norm", ["L1", "L2", "MAX"])
def test_normalizer__each_norm(tmp_path: Path, norm: str) -> None:
    rows = np.abs(rows_of(4)) + 0.25
    model = assert_same(one_node("Normalizer", 4, domain=ML, norm=norm), tmp_path, rows)
    assert circuit_error(model, rows, tmp_path) < 0.03


def test_imputer__stand_in_replaced_and_nan_ignored(tmp_path: Path) -> None:
    rows = rows_of(3)
    rows[::2, 1] = -9
    replaced = one_node(
        "Imputer", 3, domain=ML, imputed_value_floats=[0.5, 1.5, 2.5], replaced_value_float=-9.0
    )
    model = assert_same(replaced, tmp_path, rows)
    assert circuit_error(model, rows, tmp_path) < 0.01
    nan = one_node(
        "Imputer", 3, domain=ML, imputed_value_floats=[0.5] * 3, replaced_value_float=float("nan")
    )
    assert_same(nan, tmp_path, rows)


def test_binarizer__bit_above_the_threshold_and_none_at_it(tmp_path: Path) -> None:
    rows = np.array([[0.5, 0.501953125, 0.498046875]])
    model = assert_same(one_node("Binarizer", 3, domain=ML, threshold=0.5), tmp_path, rows)
    assert circuit_error(model, rows, tmp_path) == 0


def test_one_hot_encoder__known_and_unknown_categories(tmp_path: Path) -> None:
    rows = np.array([[2.0], [5.0], [7.0], [3.0]])
    node = helper.make_node(
        "OneHotEncoder", ["x"], ["y"], domain=ML, cats_int64s=[2, 5, 7], zeros=1
    )
    model = graph_of([node], [("x", INT64, ["n", 1])], [("y", FLOAT, ["n", 1, 3])])
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.01


@pytest.mark.parametrize("to", ["int64", "float"])
def test_label_encoder__numbers_to_numbers(tmp_path: Path, to: str) -> None:
    values = {"values_int64s": [10, 20, 30]} if to == "int64" else {"values_floats": [0.5, -1, 3]}
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain=ML, keys_int64s=[1, 4, 9], **values
    )
    kind = INT64 if to == "int64" else FLOAT
    model = graph_of([node], [("x", INT64, ["n", 2])], [("y", kind, ["n", 2])])
    rows = np.array([[1.0, 4.0], [9.0, 5.0]])
    same = assert_same(model, tmp_path, rows, "y", outputs=["y"])
    assert circuit_error(same, rows, tmp_path) < 0.02


def test_feature_plumbing__vectorizer_extractor_and_zip_map(tmp_path: Path) -> None:
    model = graph_of(
        [
            helper.make_node(
                "FeatureVectorizer", ["a", "b"], ["v"], domain=ML, inputdimensions=[2, 1]
            ),
            helper.make_node("ArrayFeatureExtractor", ["v", "columns"], ["y"], domain=ML),
        ],
        [("a", FLOAT, ["n", 2]), ("b", FLOAT, ["n", 1])],
        [("y", FLOAT, ["n", 2])],
        columns=np.array([2, 0]),
    )
    assert_same(model, tmp_path, rows_of(3))


# --- linear ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_linear_regressor__each_transform(tmp_path: Path, post: str) -> None:
    rng = np.random.default_rng(1)
    model = one_node(
        "LinearRegressor",
        3,
        domain=ML,
        coefficients=weights(rng, 2, 3),
        intercepts=weights(rng, 2),
        targets=2,
        post_transform=post,
    )
    assert_same(model, tmp_path, rows_of(3))


@SLOW
@given(seed=SEEDS, classes=st.integers(1, 4), post=st.sampled_from(["NONE", "SOFTMAX", "LOGISTIC"]))
def test_linear_classifier__label_and_scores(
    tmp_path: Path, seed: int, classes: int, post: str
) -> None:
    rng = np.random.default_rng(seed)
    model = classifier(
        "LinearClassifier",
        3,
        coefficients=weights(rng, classes, 3),
        intercepts=weights(rng, classes),
        classlabels_ints=[7, 3] if classes == 1 else [5 * i for i in range(classes)],
        post_transform=post,
    )
    assert_same(model, tmp_path, rows_of(3, seed), "label", "scores", outputs=["label", "scores"])


def test_linear__proof_says_what_the_float_model_says(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    rng = np.random.default_rng(2)
    model = graph_of(
        [
            helper.make_node(
                "Scaler", ["x"], ["s"], domain=ML, offset=[0.5, -0.5], scale=[2.0, 0.5]
            ),
            helper.make_node(
                "LinearClassifier",
                ["s"],
                ["label", "y"],
                domain=ML,
                coefficients=weights(rng, 3, 2),
                intercepts=weights(rng, 3),
                classlabels_ints=[0, 1, 2],
            ),
        ],
        [("x", FLOAT, ["n", 2])],
        [("label", INT64, ["n"]), ("y", FLOAT, ["n", 3])],
    )
    rows = rows_of(2, count=1)
    same = assert_same(model, tmp_path, rows)
    found = proved(same, rows[0].tolist(), tmp_path, devnet_srs)
    np.testing.assert_allclose(found, np.ravel(rewritten(same, rows)), atol=0.02)


# --- trees ----------------------------------------------------------------------------------------


@SLOW
@given(seed=SEEDS, targets=st.integers(1, 3), average=st.booleans())
def test_tree_regressor__random_ensembles_ties_included(
    tmp_path: Path, seed: int, targets: int, average: bool
) -> None:
    rng = np.random.default_rng(seed)
    model = one_node(
        "TreeEnsembleRegressor",
        3,
        domain=ML,
        n_targets=targets,
        aggregate_function="AVERAGE" if average else "SUM",
        base_values=weights(rng, targets),
        **ensemble(rng, trees=3, depth=3, width=3, prefix="target", ids=list(range(targets))),
    )
    # Rows on the thresholds' own grid: many values are equal to one.
    rows = rng.integers(-8, 8, size=(8, 3)) / 4
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.02


@SLOW
@given(seed=SEEDS, post=st.sampled_from(["NONE", "SOFTMAX", "LOGISTIC"]))
def test_tree_classifier__several_classes(tmp_path: Path, seed: int, post: str) -> None:
    rng = np.random.default_rng(seed)
    model = classifier(
        "TreeEnsembleClassifier",
        3,
        classlabels_int64s=[4, 9, 2],
        post_transform=post,
        base_values=weights(rng, 3),
        **ensemble(rng, trees=2, depth=2, width=3, prefix="class", ids=[0, 1, 2]),
    )
    rows = rows_of(3, seed)
    assert_same(model, tmp_path, rows, "label", "scores", outputs=["label", "scores"])


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("positive", [True, False], ids=["positive", "mixed"])
@pytest.mark.parametrize(
    ("ids", "base"), [([0], []), ([0], [0.25]), ([1], []), ([0, 1], [])], ids=str
)
def test_tree_classifier__two_classes_as_onnxruntime_treats_them(
    tmp_path: Path, post: str, positive: bool, ids: list[int], base: list[float]
) -> None:
    rng = np.random.default_rng(3)
    trees = ensemble(rng, trees=2, depth=2, width=2, prefix="class", ids=ids)
    if positive:
        trees["class_weights"] = [abs(weight) for weight in trees["class_weights"]]
    elif ids == [0, 1]:
        # onnxruntime takes the sign of the second class's score for a missing score.
        trees["class_weights"] = [-abs(weight) for weight in trees["class_weights"]]
    model = classifier(
        "TreeEnsembleClassifier",
        2,
        classlabels_int64s=[0, 1],
        post_transform=post,
        **trees,
        **({"base_values": base} if base else {}),
    )
    rows = rows_of(2, 5)
    assert_same(model, tmp_path, rows, "label", "scores", outputs=["label", "scores"])


def test_trees__proof_says_what_the_float_model_says(tmp_path: Path, devnet_srs: SrsSource) -> None:
    model = one_node(
        "TreeEnsembleRegressor",
        2,
        domain=ML,
        n_targets=1,
        **ensemble(np.random.default_rng(4), trees=2, depth=2, width=2, prefix="target", ids=[0]),
    )
    rows = rows_of(2, count=1)
    same = assert_same(model, tmp_path, rows)
    found = proved(same, rows[0].tolist(), tmp_path, devnet_srs)
    np.testing.assert_allclose(found, np.ravel(rewritten(same, rows)), atol=0.01)


# --- support vectors ------------------------------------------------------------------------------

KERNELS: list[dict[str, Any]] = [
    {"kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 0.0]},
    {"kernel_type": "RBF", "kernel_params": [0.3, 0.0, 3.0]},
    {"kernel_type": "POLY", "kernel_params": [0.3, 0.5, 2.0]},
    {"kernel_type": "SIGMOID", "kernel_params": [0.3, 0.1, 0.0]},
]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel["kernel_type"])
def test_svm_regressor__each_kernel(tmp_path: Path, kernel: dict[str, Any]) -> None:
    rng = np.random.default_rng(6)
    model = one_node(
        "SVMRegressor",
        3,
        domain=ML,
        support_vectors=weights(rng, 5, 3),
        coefficients=weights(rng, 5),
        rho=[0.25],
        n_supports=5,
        **kernel,
    )
    rows = rows_of(3)
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.05


@SLOW
@given(seed=SEEDS, classes=st.integers(2, 4), kernel=st.sampled_from(KERNELS))
def test_svm_classifier__votes_and_scores(
    tmp_path: Path, seed: int, classes: int, kernel: dict[str, Any]
) -> None:
    rng = np.random.default_rng(seed)
    counts = [int(count) for count in rng.integers(1, 4, size=classes)]
    pairs = classes * (classes - 1) // 2
    model = classifier(
        "SVMClassifier",
        3,
        support_vectors=weights(rng, sum(counts), 3),
        coefficients=weights(rng, classes - 1, sum(counts)),
        vectors_per_class=counts,
        rho=weights(rng, pairs),
        classlabels_ints=[3 * i + 1 for i in range(classes)],
        **kernel,
    )
    rows = rows_of(3, seed)
    assert_same(model, tmp_path, rows, "label", "scores", outputs=["label", "scores"])


def test_svm__proof_says_what_the_float_model_says(tmp_path: Path, devnet_srs: SrsSource) -> None:
    rng = np.random.default_rng(8)
    model = one_node(
        "SVMRegressor",
        2,
        domain=ML,
        support_vectors=weights(rng, 3, 2),
        coefficients=weights(rng, 3),
        rho=[0.25],
        n_supports=3,
        **KERNELS[2],
    )
    rows = rows_of(2, count=1)
    same = assert_same(model, tmp_path, rows)
    found = proved(same, rows[0].tolist(), tmp_path, devnet_srs)
    np.testing.assert_allclose(found, np.ravel(rewritten(same, rows)), atol=0.05)


# --- labels ---------------------------------------------------------------------------------------


def text_classifier() -> Any:
    rng = np.random.default_rng(9)
    return classifier(
        "LinearClassifier",
        2,
        coefficients=weights(rng, 3, 2),
        intercepts=weights(rng, 3),
        classlabels_strings=["ash", "elm", "oak"],
    )


def test_outputs__classifier__scores_without_the_label_and_class_names_kept(
    tmp_path: Path,
) -> None:
    model = loaded(text_classifier(), tmp_path, rows_of(2))
    assert [tensor.name for tensor in model.outputs] == ["scores"]
    assert model.labels == ("ash", "elm", "oak")


def test_outputs__text_label_asked_for__its_index(tmp_path: Path) -> None:
    rows = rows_of(2)
    scores = rewritten(loaded(text_classifier(), tmp_path, rows), rows)
    label = loaded(text_classifier(), tmp_path, rows, outputs=["label"])
    np.testing.assert_array_equal(rewritten(label, rows).ravel(), scores.argmax(axis=1))


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (one_node("Scaler", 2, domain=ML, offset=[0.0], scale=[1.0]), ""),
        (
            classifier(
                "SVMClassifier",
                2,
                support_vectors=[0.0] * 6,
                coefficients=[1.0] * 6,
                vectors_per_class=[1, 1, 1],
                rho=[0.0] * 3,
                prob_a=[1.0] * 3,
                prob_b=[0.0] * 3,
                classlabels_ints=[0, 1, 2],
            ),
            r"operator ai.onnx.ml.SVMClassifier \(node 'the_node'\) couples the probabilities",
        ),
        (
            one_node(
                "LinearRegressor", 2, domain=ML, coefficients=[1.0, 2.0], post_transform="PROBIT"
            ),
            r"operator ai.onnx.ml.LinearRegressor \(node 'the_node'\) with post_transform PROBIT",
        ),
        (
            one_node(
                "TreeEnsembleRegressor",
                2,
                domain=ML,
                n_targets=1,
                aggregate_function="MAX",
                **ensemble(
                    np.random.default_rng(0), trees=1, depth=1, width=2, prefix="target", ids=[0]
                ),
            ),
            r"TreeEnsembleRegressor \(node 'the_node'\) with aggregate_function MAX",
        ),
    ],
    ids=["accepted", "coupled", "probit", "maximum"],
)
def test_load__what_has_no_core_form__named_with_its_node(
    tmp_path: Path, model: Any, words: str
) -> None:
    rows = rows_of(2)
    if not words:
        assert_same(model, tmp_path, rows)
        return
    with pytest.raises(ModelUnsupported, match=words) as caught:
        loaded(model, tmp_path, rows)
    assert "\n" not in caught.value.line()
    assert caught.value.remedy


@pytest.mark.parametrize("damage", ["missing child", "circle", "lengths", "target"])
def test_load__trees_that_are_none__refused(tmp_path: Path, damage: str) -> None:
    trees = ensemble(np.random.default_rng(0), trees=1, depth=1, width=2, prefix="target", ids=[0])
    if damage == "missing child":
        trees["nodes_truenodeids"][0] = 99
    elif damage == "circle":
        trees["nodes_modes"] = ["BRANCH_LEQ"] * 3
        trees["nodes_truenodeids"], trees["nodes_falsenodeids"] = [1, 2, 1], [2, 1, 2]
    elif damage == "lengths":
        trees["nodes_values"] = trees["nodes_values"][:-1]
    else:
        trees["target_ids"][0] = 7
    model = one_node("TreeEnsembleRegressor", 2, domain=ML, n_targets=1, **trees)
    with pytest.raises(ModelUnsupported, match=r"TreeEnsembleRegressor \(node 'the_node'\)"):
        loaded(model, tmp_path, rows_of(2))
