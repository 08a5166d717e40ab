"""Tables are a little larger than what was asked of them."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.circuits.shapes import filled, loosened
from tests.sampling import seed


@pytest.mark.parametrize("turn", range(20))
def test_tables__any_range__hold_more_on_either_side_and_fill_their_columns(turn: int) -> None:
    random = np.random.default_rng([seed(), turn])
    asked = (-int(random.integers(0, 5000)), int(random.integers(1, 5000)))
    if turn % 3 == 0:
        # Numbers that are not above zero, but for their rounding.
        asked = (-int(random.integers(100, 5000)), 1)
    low, high = loosened(asked)
    assert low <= asked[0] - 4
    assert high >= asked[1] + 4
    assert high - low <= 1.05 * (asked[1] - asked[0]) + 10
    room = int(random.integers(100, 3000))
    least, most = filled((low, high), room)
    assert least <= low
    assert most >= high
    assert (most - least + 1) % room == 0
    spare = (most - least) - (high - low)
    assert min(low - least, most - high) >= spare // 8 - 1


def test_tables__nothing_looked_up__stay_empty() -> None:
    assert filled(loosened((0, 0)), 500) == (0, 0)
