"""What a circuit costs, and by which cost one is better than another."""

from __future__ import annotations

from enum import StrEnum


class Objective(StrEnum):
    """What the search makes small."""

    #: Gas of one verification.
    GAS = "gas"
    #: Seconds of one proof.
    LATENCY = "latency"
    #: The product of both.
    BALANCED = "balanced"
