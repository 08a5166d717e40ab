"""What a circuit will cost, from its settings, before anything is built.

A circuit's *structure* (columns, lookup tables, shuffles ...) decides how many polynomials it has,
whatever its height. Two sizes follow from it: the bytes of a proof and the bytes of proving key for
each row. All else follows from these and the height:

    gas             linear in proof bytes and public instances
    verifier bytes  linear in proof bytes
    key bytes       key bytes a row x 2**logrows
    memory          linear in key bytes
    seconds         linear in (proof bytes, key bytes a row) x 2**(p logrows), p a little under 1

``cost.json`` holds the coefficients, measured by ``scripts/fit_costs.py`` on small circuits of
every structure; seconds there are those of a reference machine, and `Estimate` is scaled by how
fast this one proves (`oracle.circuits.speed`).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from oracle.errors import ModelUnsupported, UsageError

Json = dict[str, Any]

#: Rows that the proof system keeps for blinding: a table's column has so many less than 2**logrows.
BLINDING_ROWS = 8
_COEFFICIENTS = Path(__file__).with_name("cost.json")


#: Gas that one transaction may use (EIP-7825).
_TRANSACTION_GAS = 1 << 24

#: Seconds of an answer that the node spends beside proving: watching, the witness, sending. Without
#: them, halving a tenth of a second would be worth twice the gas.
_BESIDES_PROVING = 0.2


def usable_rows(logrows: int) -> int:
    """Rows of a circuit of 2**logrows that hold numbers, and entries of a table's column."""
    return (1 << logrows) - BLINDING_ROWS


class Objective(StrEnum):
    """What the search makes small."""

    #: Gas of one verification.
    GAS = "gas"
    #: Seconds of one proof.
    LATENCY = "latency"
    #: The product of gas and the seconds of an answer.
    BALANCED = "balanced"

    @classmethod
    def parse(cls, text: str) -> Objective:
        """The objective of that name.

        Raises:
            UsageError: there is none.
        """
        try:
            return cls(text)
        except ValueError:
            raise UsageError(f"'{text}' is no objective", remedy=f"Use {', '.join(cls)}") from None

    def rank(self, gas: float, seconds: float) -> tuple[float, float]:
        """Sorts circuits, the best first; the first number is what counts."""
        if self is Objective.GAS:
            return gas, seconds
        if self is Objective.LATENCY:
            return seconds, gas
        return gas * (seconds + _BESIDES_PROVING), seconds


@dataclass(frozen=True, slots=True)
class Structure:
    """What decides how many polynomials a circuit has."""

    #: Inner columns.
    columns: int
    #: Lookup arguments: range checks and tables of activations.
    tables: int
    #: Columns that tables take beyond their first.
    spread: int
    shuffles: bool
    dynamic: bool
    freivalds: bool
    #: Public inputs, tag limbs and outputs.
    instances: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one circuit will cost. Gas of a call, seconds of a proof, sizes in bytes."""

    prove_seconds: float
    gas: int
    verifier_bytes: int
    proof_bytes: int
    key_bytes: int
    memory_bytes: int


def structure(settings: Json) -> Structure:
    """The structure of the circuit that ezkl's ``settings`` describe."""
    asked = settings["run_args"]
    room = usable_rows(asked["logrows"])
    low, high = asked["lookup_range"]
    lookups = len(settings["required_lookups"])
    ranges = [most - least + 1 for least, most in settings["required_range_checks"]]
    widths = [math.ceil(each / room) for each in [*ranges, *[high - low + 1] * lookups]]
    return Structure(
        columns=asked["num_inner_cols"],
        tables=len(widths),
        spread=sum(widths) - len(widths),
        shuffles=settings["num_shuffles"] > 0,
        dynamic=settings["num_dynamic_lookups"] > 0,
        freivalds=settings["einsum_params"]["total_einsum_col_size"] > 0,
        instances=sum(math.prod(shape) for shape in settings["model_instance_shapes"]),
    )


def estimate(circuit: Structure, logrows: int, speed: float = 1.0) -> Estimate:
    """Cost of a circuit of 2**logrows rows.

    Args:
        circuit: its structure.
        logrows: base-two logarithm of its height.
        speed: seconds here for a second on the reference machine.
    """
    known = _coefficients()
    proof, key_row = (_weigh(known[name], circuit) for name in ("proof_bytes", "key_row_bytes"))
    key = key_row * 2.0**logrows
    per_proof, per_key = known["seconds_per_row"]
    work = 2.0 ** (known["seconds_power"] * logrows)
    seconds = known["seconds"] + work * (per_proof * proof + per_key * key_row)
    fixed, per_byte, per_instance = known["gas"]
    code_fixed, code_per_byte = known["verifier_bytes"]
    memory_fixed, memory_per_byte = known["memory_bytes"]
    return Estimate(
        prove_seconds=seconds * speed,
        gas=round(fixed + per_byte * proof + per_instance * circuit.instances),
        verifier_bytes=round(code_fixed + code_per_byte * proof),
        proof_bytes=round(proof),
        key_bytes=round(key),
        memory_bytes=round(memory_fixed + memory_per_byte * key),
    )


def require_verifiable(inputs: int) -> None:
    """Refuse a model of so many inputs that no transaction could verify a proof of it.

    Raises:
        ModelUnsupported: before anything is built or searched.
    """
    fixed, _, per_instance = _coefficients()["gas"]
    gas = round(fixed + per_instance * inputs)
    if gas > _TRANSACTION_GAS:
        raise ModelUnsupported(
            f"the model has {inputs:,} inputs; to verify them would take {gas:,} gas, one "
            f"transaction may use {_TRANSACTION_GAS:,}",
            remedy="Use a model with fewer inputs, for example a smaller image",
        )


def features(circuit: Structure) -> tuple[int, ...]:
    """What proof and key sizes are linear in, in the order of the weights in ``cost.json``."""
    return (
        1,
        circuit.tables,
        circuit.spread,
        int(circuit.shuffles),
        int(circuit.dynamic),
        int(circuit.freivalds),
        # The constraints' degree passes a power of two, and with it the quotient's domain.
        int(circuit.spread > 0 or circuit.shuffles or circuit.dynamic),
    )


def _weigh(by_columns: Json, circuit: Structure) -> float:
    weights = by_columns[str(circuit.columns)].values()
    return float(sum(w * f for w, f in zip(weights, features(circuit), strict=True)))


@cache
def _coefficients() -> Json:
    return dict(json.loads(_COEFFICIENTS.read_text()))
