"""Pipelines of scikit-learn, XGBoost and LightGBM on the data sets that scikit-learn brings along.

Each is trained on the rows that its build gets: the other half of the data set is new to both.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx
import onnxmltools
import skl2onnx
import xgboost
from onnx import helper
from onnxmltools.convert.common.data_types import FloatTensorType as MlFloatTensorType
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from scripts.truth.case import Case, halves

Array = npt.NDArray[Any]
Data = tuple[Array, Array]

_SEED = 11
_OPSETS = {"": 17, "ai.onnx.ml": 3}
#: Names of results that skl2onnx counts through a process.
_COUNTED = re.compile(r"(UU\d+UU|cdist\w*?_\d+_)")
#: onnxmltools goes no further.
_BOOSTED_OPSET = 15
_DIGITS = 500
_CATEGORIES = 4


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, on which data, and how much of the answer is revealed."""

    #: Makes an estimator that is not fitted yet.
    estimator: Callable[[], Any]
    #: Inputs [n, features], float or int64, and targets [n].
    data: Callable[[], Data]
    reveal: str = "full"
    convert: Callable[[Any, Array], Any] | None = None


# --- data -----------------------------------------------------------------------------------------


@cache
def _breast_cancer() -> Data:
    inputs, labels = load_breast_cancer(return_X_y=True)
    return inputs, labels


def _breast_cancer_means() -> Data:
    """The ten means alone: from 0.02 to 2,500 in one row."""
    inputs, labels = _breast_cancer()
    return inputs[:, :10], labels


@cache
def _iris() -> Data:
    inputs, labels = load_iris(return_X_y=True)
    return inputs, labels


@cache
def _wine() -> Data:
    inputs, labels = load_wine(return_X_y=True)
    return inputs, labels


@cache
def _digits() -> Data:
    inputs, labels = load_digits(return_X_y=True)
    return inputs[:_DIGITS], labels[:_DIGITS]


@cache
def _diabetes() -> Data:
    """Ages, pressures and the like in their own units; the target is from 25 to 346."""
    inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    return inputs, targets


def _diabetes_scaled() -> Data:
    inputs, targets = load_diabetes(return_X_y=True)
    return inputs, targets / 100


def _wine_categories() -> Data:
    """Quartiles of four properties as int64."""
    inputs, labels = _wine()
    return _quartiles(inputs[:, [0, 6, 9, 12]]), labels


def _wine_mixed() -> Data:
    """Three numbers, then the quartiles of two more."""
    inputs, labels = _wine()
    return np.hstack([inputs[:, [0, 6, 9]], _quartiles(inputs[:, [10, 12]])]), labels


def _quartiles(columns: Array) -> Array:
    edges = np.quantile(columns, np.arange(1, _CATEGORIES) / _CATEGORIES, axis=0)
    return np.asarray((columns[None] > edges[:, None]).sum(axis=0), dtype=np.int64)


# --- exports --------------------------------------------------------------------------------------


def _exported(model: Any, inputs: Array) -> Any:
    """As scikit-learn's exporter writes it, classifiers without dictionaries."""
    kind = Int64TensorType if inputs.dtype == np.int64 else FloatTensorType
    return _converted(model, [("input", kind([None, inputs.shape[1]]))])


def _mixed(model: Any, _: Array) -> Any:
    return _converted(
        model,
        [("numbers", FloatTensorType([None, 3])), ("codes", Int64TensorType([None, 2]))],
    )


def _converted(model: Any, inputs: list[tuple[str, Any]]) -> Any:
    proto = skl2onnx.to_onnx(
        model,
        name="truth",
        initial_types=inputs,
        # Of the one that has no probabilities the exporter knows no such option.
        options={"zipmap": False}
        if is_classifier(model) and not isinstance(_last(model), LinearSVC)
        else None,
        target_opset=_OPSETS,
    )
    _number_anew(proto.graph, {})
    return proto


def _number_anew(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Names that the exporter counts through all models of a process, counted in each alone."""

    def anew(name: str) -> str:
        return names.setdefault(name, f"counted_{len(names)}") if _COUNTED.match(name) else name

    for node in graph.node:
        node.name = anew(node.name)
        node.input[:] = map(anew, node.input)
        node.output[:] = map(anew, node.output)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _number_anew(attribute.g, names)
    for tensor in graph.initializer:
        tensor.name = anew(tensor.name)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = anew(value.name)


def _last(model: Any) -> Any:
    """The estimator at the end of a pipeline."""
    return model.steps[-1][1] if isinstance(model, Pipeline) else model


def _from_xgboost(model: Any, inputs: Array) -> Any:
    return onnxmltools.convert_xgboost(
        model,
        name="truth",
        initial_types=[("input", MlFloatTensorType([None, inputs.shape[1]]))],
        target_opset=_BOOSTED_OPSET,
    )


def _from_lightgbm(model: Any, inputs: Array) -> Any:
    return onnxmltools.convert_lightgbm(
        model,
        name="truth",
        initial_types=[("input", MlFloatTensorType([None, inputs.shape[1]]))],
        target_opset=_BOOSTED_OPSET,
        zipmap=False,
    )


def make(name: str) -> Case:
    """One case, by a name of `RECIPES`."""
    recipe = RECIPES[name]
    inputs, targets = recipe.data()
    if inputs.dtype != np.int64:
        inputs = inputs.astype(np.float32)
    with warnings.catch_warnings():
        # Short training is on purpose; what a library will change one day changes nothing here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        model = recipe.estimator().fit(inputs[::2], targets[::2])
        proto: onnx.ModelProto = (recipe.convert or _exported)(model, inputs)
    # Exporters list the opsets in any order, some of them twice.
    opsets = {opset.domain: opset.version for opset in proto.opset_import}
    del proto.opset_import[:]
    proto.opset_import.extend(
        helper.make_opsetid(domain, opsets[domain]) for domain in sorted(opsets)
    )
    samples, fresh = halves(inputs)
    return Case(
        name,
        type(_last(model)).__name__,
        bytes(proto.SerializeToString(deterministic=True)),
        samples,
        fresh,
        recipe.reveal,
    )


# --- estimators -----------------------------------------------------------------------------------


def _standard(estimator: Callable[..., Any], *others: Any, **options: Any) -> Callable[[], Any]:
    """A StandardScaler, ``others``, and an estimator of these options."""
    return lambda: make_pipeline(StandardScaler(), *others, estimator(**options))


def _stacked() -> Any:
    parts = [
        ("line", LogisticRegression(max_iter=200)),
        ("tree", DecisionTreeClassifier(max_depth=3, random_state=_SEED)),
    ]
    return StackingClassifier(parts, LogisticRegression(max_iter=200), cv=3)


def _voting() -> Any:
    parts = [
        ("line", LogisticRegression(max_iter=200)),
        ("tree", DecisionTreeClassifier(max_depth=3, random_state=_SEED)),
        ("bayes", GaussianNB()),
    ]
    return VotingClassifier(parts, voting="soft", flatten_transform=False)


def _voting_regressor() -> Any:
    parts = [
        ("line", BayesianRidge()),
        ("tree", DecisionTreeRegressor(max_depth=3, random_state=_SEED)),
    ]
    return make_pipeline(StandardScaler(), VotingRegressor(parts))


def _mixed_columns() -> Any:
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), [0, 1, 2]),
            ("codes", OneHotEncoder(handle_unknown="ignore", dtype=np.float32), [3, 4]),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=200))


def _network(**options: Any) -> Callable[[], Any]:
    return _standard(
        MLPClassifier, hidden_layer_sizes=(12,), max_iter=120, random_state=_SEED, **options
    )


RECIPES: Mapping[str, Recipe] = {
    # Linear classifiers.
    "cancer_robust_logistic": Recipe(
        lambda: make_pipeline(RobustScaler(), LogisticRegression(max_iter=200)),
        _breast_cancer,
        "threshold:0.5",
    ),
    "cancer_logistic": Recipe(_standard(LogisticRegression, max_iter=200), _breast_cancer),
    "cancer_selected_logistic": Recipe(
        lambda: make_pipeline(SelectKBest(k=8), StandardScaler(), LogisticRegression()),
        _breast_cancer,
        "threshold:0.5",
    ),
    "wine_components_logistic": Recipe(
        lambda: make_pipeline(
            SimpleImputer(), StandardScaler(), PCA(4, random_state=_SEED), LogisticRegression()
        ),
        _wine,
        "round:2",
    ),
    "iris_products_logistic": Recipe(
        lambda: make_pipeline(PolynomialFeatures(2), LogisticRegression(max_iter=300)), _iris
    ),
    "digits_logistic": Recipe(
        lambda: make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=200)), _digits, "topk:2"
    ),
    "wine_categories_logistic": Recipe(
        lambda: make_pipeline(
            OneHotEncoder(handle_unknown="ignore", dtype=np.float32),
            LogisticRegression(max_iter=200),
        ),
        _wine_categories,
        "top1",
    ),
    "wine_mixed_logistic": Recipe(_mixed_columns, _wine_mixed, convert=_mixed),
    "iris_bins_logistic": Recipe(
        lambda: make_pipeline(
            KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform"),
            LogisticRegression(max_iter=200),
        ),
        _iris,
    ),
    "iris_power_logistic": Recipe(
        lambda: make_pipeline(PowerTransformer(), LogisticRegression(max_iter=200)), _iris
    ),
    "cancer_sgd": Recipe(
        _standard(SGDClassifier, loss="log_loss", random_state=_SEED),
        _breast_cancer,
        "threshold:0.5",
    ),
    "wine_ridge_classifier": Recipe(_standard(RidgeClassifier), _wine, "top1"),
    # Bayes and discriminants.
    "iris_gaussian_nb": Recipe(GaussianNB, _iris),
    "digits_bernoulli_nb": Recipe(partial(BernoulliNB, binarize=8.0), _digits, "top1"),
    "digits_multinomial_nb": Recipe(MultinomialNB, _digits, "top1"),
    "digits_complement_nb": Recipe(ComplementNB, _digits, "top1"),
    "wine_lda": Recipe(_standard(LinearDiscriminantAnalysis), _wine),
    "wine_qda": Recipe(_standard(QuadraticDiscriminantAnalysis, PCA(3, random_state=_SEED)), _wine),
    "iris_mixture": Recipe(partial(GaussianMixture, 3, random_state=_SEED), _iris),
    # Support vectors.
    "iris_svc": Recipe(_standard(SVC), _iris, "top1"),
    "cancer_svc": Recipe(
        _standard(SVC, PCA(4, random_state=_SEED), C=0.5), _breast_cancer, "threshold:0"
    ),
    "iris_nu_svc": Recipe(partial(NuSVC, nu=0.3, gamma=0.5), _iris),
    "iris_linear_svc": Recipe(partial(LinearSVC, random_state=_SEED), _iris, "top1"),
    "diabetes_svr": Recipe(lambda: make_pipeline(MinMaxScaler(), SVR(C=0.5)), _diabetes_scaled),
    "iris_one_class_svm": Recipe(partial(OneClassSVM, nu=0.2), _iris),
    # Trees.
    "cancer_tree": Recipe(
        partial(DecisionTreeClassifier, max_depth=5, random_state=_SEED),
        _breast_cancer,
        "threshold:0.5",
    ),
    "iris_scaled_tree": Recipe(
        _standard(DecisionTreeClassifier, max_depth=4, random_state=_SEED), _iris
    ),
    "cancer_components_forest": Recipe(
        _standard(
            RandomForestClassifier,
            PCA(3, random_state=_SEED),
            n_estimators=6,
            max_depth=4,
            random_state=_SEED,
        ),
        _breast_cancer,
    ),
    "digits_forest": Recipe(
        partial(RandomForestClassifier, 10, max_depth=5, random_state=_SEED), _digits, "topk:3"
    ),
    "wine_extra_trees": Recipe(
        partial(ExtraTreesClassifier, 8, max_depth=4, random_state=_SEED), _wine, "round:2"
    ),
    "iris_boosting": Recipe(
        partial(GradientBoostingClassifier, n_estimators=5, max_depth=2, random_state=_SEED),
        _iris,
        "top1",
    ),
    "wine_ada_boost": Recipe(
        partial(AdaBoostClassifier, n_estimators=5, random_state=_SEED), _wine, "top1"
    ),
    "diabetes_tree": Recipe(
        partial(DecisionTreeRegressor, max_depth=5, random_state=_SEED), _diabetes
    ),
    "diabetes_forest": Recipe(
        partial(RandomForestRegressor, 8, max_depth=5, random_state=_SEED), _diabetes
    ),
    "diabetes_boosting": Recipe(
        partial(GradientBoostingRegressor, n_estimators=10, max_depth=2, random_state=_SEED),
        _diabetes,
    ),
    "iris_isolation_forest": Recipe(
        partial(IsolationForest, n_estimators=6, max_samples=32, random_state=_SEED), _iris
    ),
    "cancer_xgboost": Recipe(
        partial(xgboost.XGBClassifier, n_estimators=6, max_depth=3, random_state=_SEED, n_jobs=1),
        _breast_cancer_means,
        "threshold:0.5",
        _from_xgboost,
    ),
    "diabetes_xgboost": Recipe(
        partial(xgboost.XGBRegressor, n_estimators=8, max_depth=3, random_state=_SEED, n_jobs=1),
        _diabetes,
        convert=_from_xgboost,
    ),
    "digits_lightgbm": Recipe(
        partial(
            lightgbm.LGBMClassifier,
            n_estimators=2,
            num_leaves=5,
            random_state=_SEED,
            n_jobs=1,
            deterministic=True,
            verbosity=-1,
        ),
        _digits,
        "top1",
        _from_lightgbm,
    ),
    "diabetes_lightgbm": Recipe(
        partial(
            lightgbm.LGBMRegressor,
            n_estimators=8,
            num_leaves=6,
            random_state=_SEED,
            n_jobs=1,
            deterministic=True,
            verbosity=-1,
        ),
        _diabetes,
        convert=_from_lightgbm,
    ),
    # Of several.
    "iris_bagging": Recipe(
        lambda: BaggingClassifier(LogisticRegression(max_iter=200), 3, random_state=_SEED), _iris
    ),
    "diabetes_bagging": Recipe(
        lambda: make_pipeline(
            StandardScaler(),
            BaggingRegressor(
                DecisionTreeRegressor(max_depth=3, random_state=_SEED), 4, random_state=_SEED
            ),
        ),
        _diabetes,
    ),
    "iris_voting": Recipe(_voting, _iris, "top1"),
    "diabetes_voting": Recipe(_voting_regressor, _diabetes),
    "iris_stacking": Recipe(_stacked, _iris),
    "iris_calibrated": Recipe(
        lambda: CalibratedClassifierCV(LinearSVC(random_state=_SEED), cv=2), _iris, "top1"
    ),
    # Neighbours, clusters, kernels.
    "iris_neighbours": Recipe(partial(KNeighborsClassifier, 3), _iris, "top1"),
    "diabetes_neighbours": Recipe(
        lambda: make_pipeline(PCA(2, random_state=_SEED), KNeighborsRegressor(3)),
        _diabetes_scaled,
    ),
    "iris_kmeans": Recipe(partial(KMeans, 3, n_init=2, random_state=_SEED), _iris),
    "wine_mini_batch_kmeans": Recipe(
        _standard(MiniBatchKMeans, n_clusters=3, n_init=2, random_state=_SEED), _wine
    ),
    "iris_gaussian_process": Recipe(
        lambda: GaussianProcessRegressor(RBF(2.0), alpha=0.1, optimizer=None), _iris
    ),
    # Networks.
    "digits_mlp": Recipe(
        lambda: make_pipeline(
            MaxAbsScaler(), MLPClassifier((16,), max_iter=80, random_state=_SEED)
        ),
        _digits,
    ),
    "cancer_mlp_tanh": Recipe(_network(activation="tanh"), _breast_cancer_means, "threshold:0.5"),
    "wine_mlp_logistic": Recipe(_network(activation="logistic"), _wine, "top1"),
    "diabetes_mlp": Recipe(
        lambda: make_pipeline(
            StandardScaler(),
            MLPRegressor(
                hidden_layer_sizes=(8, 4), max_iter=300, solver="lbfgs", random_state=_SEED
            ),
        ),
        _diabetes,
    ),
    # Linear regressions.
    "diabetes_elastic_net": Recipe(_standard(ElasticNet, alpha=0.1), _diabetes),
    "diabetes_bayesian_ridge": Recipe(BayesianRidge, _diabetes, "round:0"),
    "diabetes_huber": Recipe(_standard(HuberRegressor), _diabetes),
    "diabetes_poisson": Recipe(_standard(PoissonRegressor), _diabetes),
    "diabetes_normalised": Recipe(lambda: make_pipeline(Normalizer(), BayesianRidge()), _diabetes),
    # What is published may be a transformation.
    "digits_components": Recipe(
        lambda: make_pipeline(MaxAbsScaler(), PCA(4, random_state=_SEED)), _digits
    ),
    "wine_svd": Recipe(
        lambda: make_pipeline(StandardScaler(), TruncatedSVD(3, random_state=_SEED)), _wine
    ),
}
