"""A plan of a circuit's fixed-point arithmetic: where it rounds, and what it looks up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: No number of a plan is greater.
_MOST = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides the arithmetic; `oracle.circuits.fixed` writes it into a graph."""

    #: Fractional bits of the inputs.
    scale: int
    #: Fractional bits of the weights.
    weight_scale: int
    #: Other fractional bits, of the weights of the product that has this result.
    weight_scales: tuple[tuple[str, int], ...]
    #: ezkl's limit on declared scales, as a multiple of `scale`.
    multiplier: int
    #: Arguments that are rounded first: an operator's result, which argument, fractional bits left.
    rounded: tuple[tuple[str, int, int], ...]
    #: Relus and comparisons, by their result, that are looked up.
    looked_up: tuple[str, ...]

    @property
    def limit(self) -> int:
        """Ezkl rounds down to this whatever it takes for a number of a greater scale."""
        return self.scale * self.multiplier

    @property
    def asked(self) -> dict[str, int]:
        """What ezkl has to be asked for."""
        return {
            "input_scale": self.scale,
            "param_scale": -self.limit,
            "scale_rebase_multiplier": self.multiplier,
        }

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Plan:
        """The plan whose fields are ``values``, as a manifest holds them.

        Raises:
            KeyError, TypeError, ValueError: they are none, or out of all proportion.
        """
        return cls(
            scale=_bits(values["scale"], 1),
            weight_scale=_bits(values["weight_scale"]),
            weight_scales=tuple(
                (_name(name), _bits(bits)) for name, bits in values["weight_scales"]
            ),
            multiplier=_bits(values["multiplier"], 1),
            rounded=tuple(
                (_name(name), _bits(position), _bits(bits, -_MOST))
                for name, position, bits in values["rounded"]
            ),
            looked_up=tuple(_name(name) for name in list(values["looked_up"])),
        )


def _bits(value: object, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= _MOST:
        raise ValueError(f"a plan's number {value!r}")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a plan's name {value!r}")
    return value
