"""The contracts and their model agree; and the model is not blind."""

from __future__ import annotations

import pytest

from tests.model.driver import Driver, Mismatch
from tests.model.protocol import ZERO

ACTIONS = 3_000
SEED = 1


def test_random_actions__contracts__agree_with_the_model() -> None:
    driver = Driver(SEED)
    driver.run(ACTIONS)
    reached = {
        "fulfill",
        "fulfillBatch",
        "retryCallback",
        "refund",
        "topUp",
        "requestFor",
        "requestBatchInference",
        "withdrawTo",
        "withdrawProtocolFees",
        "depositToken",
        "nested request",
        "starved",
        "refused: ProofRejected",
        "refused: DeadlinePassed",
        "refused: InvalidSignature",
        "refused: CommitmentMismatch",
        "refused: VerifierChanged",
    }
    assert reached <= driver.done.keys()


def test_random_actions__same_seed__same_run() -> None:
    first, second = Driver(7), Driver(7)
    first.run(200)
    second.run(200)
    assert first.done == second.done
    assert first.model.credits == second.model.credits


def test_random_actions__credit_from_nothing__is_noticed() -> None:
    driver = Driver(SEED)
    driver.model.credits[ZERO, driver.thief] += 1
    with pytest.raises(Mismatch, match=f"seed {SEED}"):
        driver.run(50)
