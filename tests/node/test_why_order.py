"""What happened is told in its order, whatever the clocks of node and chain say."""

from __future__ import annotations

import pytest

from oracle.why.life import in_order
from oracle.why.report import Step


def steps(source: str, **at: float) -> list[Step]:
    return [Step(at=moment, source=source, what=what, detail="") for what, moment in at.items()]


@pytest.mark.parametrize("sent", [100.2, 100.9, 103.5])
def test_order__an_answer_whose_sending_is_written_down_late__follows_it(sent: float) -> None:
    node = steps("node", seen=90.5, pending=sent, mined=sent + 0.5)
    told = [step.what for step in in_order(steps("chain", asked=90, answered=100), node)]
    assert told == ["asked", "seen", "pending", "answered", "mined"]


def test_order__another_nodes_answer__is_where_its_block_is() -> None:
    node = steps("node", seen=90.5, pending=103.5, lost=104)
    told = [step.what for step in in_order(steps("chain", asked=90, answered=100), node)]
    assert told == ["asked", "seen", "answered", "pending", "lost"]
