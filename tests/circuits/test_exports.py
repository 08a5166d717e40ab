"""Files as scikit-learn, XGBoost and LightGBM export them work as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from skl2onnx.common import data_types
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from oracle.circuits.build import build
from oracle.circuits.srs import SrsSource
from tests.circuits.lowered import assert_same, circuit_error, loaded, rewritten
from tests.circuits.makers import saved

FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS = FLOWERS.astype(np.float32)
TWO = (SPECIES > 0).astype(int)
SIZE = FLOWERS[:, 0] - FLOWERS[:, 1]
ROWS = FLOWERS[::10].astype(np.float64)

SKLEARN: dict[str, tuple[Any, Any]] = {
    "scaled logistic": (make_pipeline(StandardScaler(), LogisticRegression()), SPECIES),
    "two classes": (make_pipeline(MinMaxScaler(), LogisticRegression()), TWO),
    "normalised linear": (make_pipeline(Normalizer(), LinearRegression()), SIZE),
    "imputed": (make_pipeline(SimpleImputer(), LogisticRegression()), SPECIES),
    "products": (make_pipeline(PolynomialFeatures(2), LogisticRegression()), SPECIES),
    "components": (make_pipeline(PCA(2), LogisticRegression()), SPECIES),
    "network": (make_pipeline(StandardScaler(), MLPClassifier((6,), random_state=0)), SPECIES),
    "tree": (DecisionTreeClassifier(max_depth=4, random_state=0), SPECIES),
    "tree of two": (DecisionTreeClassifier(max_depth=3, random_state=0), TWO),
    "regression tree": (DecisionTreeRegressor(max_depth=4, random_state=0), SIZE),
    "forest": (RandomForestClassifier(4, max_depth=3, random_state=0), SPECIES),
    "forest of two": (RandomForestClassifier(4, max_depth=3, random_state=0), TWO),
    "regression forest": (RandomForestRegressor(4, max_depth=3, random_state=0), SIZE),
    "extra trees": (ExtraTreesClassifier(4, max_depth=3, random_state=0), SPECIES),
    "boosting": (GradientBoostingClassifier(n_estimators=3, max_depth=2), SPECIES),
    "boosting of two": (GradientBoostingClassifier(n_estimators=3, max_depth=2), TWO),
    "boosted regression": (GradientBoostingRegressor(n_estimators=3, max_depth=2), SIZE),
    "vectors": (SVC(), SPECIES),
    "vectors of two": (SVC(kernel="poly", degree=2), TWO),
    "linear vectors": (LinearSVC(), SPECIES),
    "vector regression": (SVR(), SIZE),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SKLEARN)
def test_sklearn__exported_pipeline__gives_what_onnxruntime_gives(
    tmp_path: Path, name: str
) -> None:
    estimator, target = SKLEARN[name]
    estimator.fit(FLOWERS, target)
    classifies = hasattr(estimator, "classes_")
    options = {"zipmap": False} if classifies and name != "linear vectors" else None
    exported = to_onnx(estimator, FLOWERS[:1], options=options)
    model = assert_same(exported, tmp_path, ROWS)
    assert model.takes_batches
    assert model.input_shape == (1, 4)
    if classifies:
        label = exported.graph.output[0].name
        found = rewritten(assert_same(exported, tmp_path, ROWS, outputs=[label]), ROWS)
        assert (found.ravel() == estimator.predict(FLOWERS[::10])).all()


@pytest.mark.parametrize("batch", [None, 1], ids=["free batch", "one row"])
def test_sklearn__probabilities_in_dictionaries__a_row_of_numbers(
    tmp_path: Path, batch: int | None
) -> None:
    estimator = LogisticRegression().fit(FLOWERS, np.array(["a", "b", "c"])[SPECIES])
    types = [("x", data_types.FloatTensorType([batch, 4]))]
    model = loaded(to_onnx(estimator, initial_types=types), tmp_path, ROWS)
    assert model.takes_batches == (batch is None)
    assert model.labels == ("a", "b", "c")
    np.testing.assert_allclose(
        rewritten(model, ROWS), estimator.predict_proba(FLOWERS[::10]), atol=1e-4
    )


ENSEMBLES = {
    "bagging": lambda: BaggingClassifier(LogisticRegression(max_iter=200), 2, random_state=0),
    "stacking": lambda: StackingClassifier(
        [("line", LogisticRegression(max_iter=200)), ("tree", DecisionTreeClassifier(max_depth=2))],
        LogisticRegression(max_iter=200),
    ),
    "network": lambda: MLPClassifier((4,), max_iter=30, random_state=0),
    "bits": BernoulliNB,
    "naive bayes": GaussianNB,
    "calibrated": lambda: CalibratedClassifierCV(LinearSVC(), cv=2),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classes", [(3, 7, 9), ("ash", "elm", "oak")], ids=["numbers", "text"])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_sklearn__names_of_classes__are_those_of_its_own_label(
    tmp_path: Path, name: str, classes: tuple[Any, ...]
) -> None:
    """What an ensemble is made of numbers the classes."""
    target = np.array(classes)[np.unique(SPECIES, return_inverse=True)[1]]
    estimator = ENSEMBLES[name]().fit(FLOWERS, target)
    exported = to_onnx(estimator, FLOWERS[:1].astype(np.float32), options={"zipmap": False})
    model = loaded(exported, tmp_path, ROWS)
    assert model.labels == tuple(map(str, classes))


@pytest.mark.parametrize("name", ["naive bayes", "calibrated"])
def test_sklearn__scores_that_are_normalised__are_the_circuits(tmp_path: Path, name: str) -> None:
    estimator = ENSEMBLES[name]().fit(FLOWERS, SPECIES)
    exported = to_onnx(estimator, FLOWERS[:1].astype(np.float32), options={"zipmap": False})
    model = loaded(exported, tmp_path, ROWS)
    np.testing.assert_allclose(
        rewritten(model, ROWS), estimator.predict_proba(FLOWERS[::10]), atol=1e-3
    )
    assert not np.isnan(circuit_error(model, ROWS[:4], tmp_path))


def test_sklearn__categories_in_integers__one_hot(tmp_path: Path) -> None:
    features = np.random.default_rng(0).integers(0, 4, size=(150, 2))
    estimator = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    estimator.fit(features, SPECIES)
    exported = to_onnx(estimator, features[:1], options={"zipmap": False})
    rows = features[:4].astype(np.float64)
    model = assert_same(exported, tmp_path, rows)
    assert circuit_error(model, rows, tmp_path) < 0.02


def boosted(convert: Callable[..., Any], estimator: Any, target: Any) -> onnx.ModelProto:
    estimator.fit(FLOWERS, target)
    return convert(estimator, initial_types=[("x", FloatTensorType([None, 4]))])


@pytest.mark.parametrize("target", [SPECIES, TWO], ids=["three", "two"])
def test_xgboost__classifier(tmp_path: Path, target: Any) -> None:
    estimator = xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1)
    model = assert_same(boosted(convert_xgboost, estimator, target), tmp_path, ROWS)
    np.testing.assert_allclose(
        rewritten(model, ROWS), estimator.predict_proba(FLOWERS[::10]), atol=1e-4
    )


def test_xgboost__regressor(tmp_path: Path) -> None:
    estimator = xgboost.XGBRegressor(n_estimators=3, max_depth=3, n_jobs=1)
    assert_same(boosted(convert_xgboost, estimator, SIZE), tmp_path, ROWS)


@pytest.mark.parametrize("target", [SPECIES, TWO], ids=["three", "two"])
def test_lightgbm__classifier__dictionaries_and_old_opset(tmp_path: Path, target: Any) -> None:
    estimator = lightgbm.LGBMClassifier(n_estimators=3, num_leaves=4, verbose=-1, n_jobs=1)
    model = loaded(boosted(convert_lightgbm, estimator, target), tmp_path, ROWS)
    np.testing.assert_allclose(
        rewritten(model, ROWS), estimator.predict_proba(FLOWERS[::10]), atol=1e-4
    )


def test_lightgbm__regressor(tmp_path: Path) -> None:
    estimator = lightgbm.LGBMRegressor(n_estimators=3, num_leaves=4, verbose=-1, n_jobs=1)
    model = assert_same(boosted(convert_lightgbm, estimator, SIZE), tmp_path, ROWS)
    assert circuit_error(model, ROWS[:4], tmp_path) < 0.02


def test_build__exported_tree__proved_as_it_is(tmp_path: Path, devnet_srs: SrsSource) -> None:
    estimator = DecisionTreeClassifier(max_depth=2, random_state=0).fit(FLOWERS, SPECIES)
    exported = to_onnx(estimator, FLOWERS[:1], options={"zipmap": False})
    bundle = build(
        saved(exported, tmp_path),
        FLOWERS[::8].astype(np.float64),
        name="tree",
        max_error=0.1,
        out=tmp_path / "bundle",
        srs=devnet_srs,
    )
    assert bundle.measures.max_abs_error <= 0.1
    assert bundle.spec.output.length == 3
