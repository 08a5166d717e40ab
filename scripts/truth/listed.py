"""The models that the bench attacks: the zoo, and many more; each name leads to one case.

The list is what the circuits' search is measured by, so it was written down before the search was
changed to meet it. A model leaves it for no reason but that it is the same as another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from scripts.models import zoo
from scripts.truth import exported, operators, tabular
from scripts.truth.case import Case, halves


def make(name: str) -> Case:
    """One case, by a name of `MAKERS`."""
    return MAKERS[name]()


def _of_zoo(name: str) -> Case:
    model = zoo.make(name)
    samples, fresh = halves(model.samples)
    return Case(name, "zoo", model.onnx, samples, fresh)


#: How each case is made.
MAKERS: Mapping[str, Callable[[], Case]] = {
    name: partial(maker, name)
    for names, maker in (
        (zoo.MAKERS, _of_zoo),
        (tabular.RECIPES, tabular.make),
        (operators.RECIPES, operators.make),
        (exported.RECIPES, exported.make),
    )
    for name in names
}
