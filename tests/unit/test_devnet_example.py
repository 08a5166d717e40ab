"""What `oracle devnet up` proposes to ask is what its model takes."""

from __future__ import annotations

import dataclasses

import pytest

from oracle.background import Process, Standing, _middle
from oracle.cli.devnet import _text
from oracle.cli.numbers import numbers_of
from oracle.tensor import encode
from oracle.types import TensorSpec

SPECS = {
    "measurements": TensorSpec(4, 2, 8, -512, 2304),
    "below zero": TensorSpec(3, 2, 10, -4000, -1000),
    "tokens": TensorSpec(5, 1, 0, 0, 9),
    "bits": TensorSpec(2, 1, 0, 0, 1),
    "fine": TensorSpec(2, 4, 20, 1, 3),
    "large": TensorSpec(1, 4, 0, 1_000_000, 3_000_001),
    "image": TensorSpec(784, 1, 6, 0, 64),
}
PROCESS = Process(1, 1)


def standing(spec: TensorSpec) -> Standing:
    return Standing(
        url="http://127.0.0.1:8545",
        chain_id=31337,
        oracle="0x01",
        registry="0x02",
        consumer="0x03",
        model_id=1,
        model="model",
        example=_middle(spec),
        caller_key="caller.key",
        node_config="node.toml",
        anvil=PROCESS,
        node=None,
    )


@pytest.mark.parametrize("name", SPECS)
def test_example__of_any_range__lies_within_it(name: str) -> None:
    numbers = numbers_of([_middle(SPECS[name])]).ravel().tolist()
    assert len(numbers) == SPECS[name].length
    assert encode(numbers, SPECS[name])


def test_line__short_input__can_be_pasted() -> None:
    last = _text(standing(SPECS["measurements"])).splitlines()[-1]
    assert last == "Ask:  oracle request 3.5,3.5,3.5,3.5 --key-file caller.key"


def test_line__number_below_zero__stands_where_others_do() -> None:
    last = _text(standing(SPECS["below zero"])).splitlines()[-1]
    assert last.startswith("Ask:  oracle request -2.44141,-2.44141,-2.44141 --key-file ")


def test_lines__space_in_a_path__can_be_pasted() -> None:
    """contract-developers D10: whatever the folder is called."""
    names = {"caller_key": "st ate/caller.key", "node_config": "st ate/node.toml"}
    found = dataclasses.replace(standing(SPECS["measurements"]), **names)
    shown = _text(found)
    assert shown.endswith("--key-file 'st ate/caller.key'")
    assert "oracle node run --config 'st ate/node.toml'" in shown


def test_line__long_input__says_how_many_numbers() -> None:
    *_, ask, values = _text(standing(SPECS["image"])).splitlines()
    assert ask.startswith("Ask:  oracle request VALUES --key-file ")
    assert values == "VALUES are 784 numbers with commas between them, 0.5 for example"
    assert "example" in dataclasses.asdict(standing(SPECS["image"]))
