"""The code of `InputRanges`: made of ranges, read back, and told from any other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.chain.contracts import RegistryContract
from oracle.chain.input_ranges import creation_code, deployed_code, is_foreign_checker, ranges_in
from oracle.chain.registration import registration
from oracle.errors import ModelUnsupported, UsageError
from oracle.testing import REGISTRY, FakeChain
from oracle.types import ZERO_ADDRESS
from tests.node.world import VERIFIER_CODE, spec

RANGES = ((-1000, 7), (0, 128))
BOUNDS = st.one_of(
    st.integers(-(2**255), 2**255 - 1),
    # Where a byte more is needed.
    st.builds(
        lambda bits, by: max(-(2**255), min(2**255 - 1, by)) if bits == 255 else 2**bits + by,
        st.integers(0, 254),
        st.integers(-2, 1),
    ),
    st.builds(lambda bits, by: -(2**bits) + by, st.integers(0, 254), st.integers(-1, 2)),
)


@given(st.lists(st.tuples(BOUNDS, BOUNDS).map(lambda r: (min(r), max(r))), min_size=1, max_size=20))
def test_code__any_ranges__are_read_back(ranges: list[tuple[int, int]]) -> None:
    code = deployed_code(ranges)
    assert ranges_in(code) == tuple(ranges)
    assert creation_code(ranges).endswith(code)


def test_code__of_something_else__holds_no_ranges() -> None:
    code = deployed_code(RANGES)
    tail = b"\x7f\x00\x80\x00"
    others = [
        b"",
        b"\x00",
        code[:-1],
        code + b"\x00",
        b"\x01" + code[1:],
        bytes([code[0] ^ 1]) + code[1:],
        # Another number of elements, another width, no width.
        code[:-3] + b"\x00\x03\x02",
        code[:-3] + b"\x00\x04\x01",
        code[:-1] + b"\x00",
        # An empty range, and more bytes than the ranges need.
        deployed_code(((1, 0),)),
        code[: -3 - 8]
        + b"".join(b.to_bytes(4, "big", signed=True) for r in RANGES for b in r)
        + b"\x00\x02\x04",
        code + tail,
    ]
    assert [ranges_in(other) for other in others] == [None] * len(others)


def test_code__more_ranges_than_a_contract_holds__says_how_many_it_does() -> None:
    with pytest.raises(ModelUnsupported, match="which holds") as caught:
        deployed_code([(0, 1 << 14)] * 65535)
    most = int(caught.value.message.split()[-1])
    assert len(deployed_code([(0, 1 << 14)] * most)) <= 24_576
    with pytest.raises(ModelUnsupported):
        deployed_code([(0, 1 << 14)] * (most + 1))


def test_registration__ranges_without_a_checker_or_the_reverse__is_refused() -> None:
    there = "0x" + "11" * 20
    ranged = spec(input_ranges=RANGES)
    for model, checker in ((spec(), there), (ranged, ZERO_ADDRESS)):
        with pytest.raises(UsageError, match="input checker"):
            registration(
                model,
                verifiers=[there],
                fee=0,
                receiver=there,
                receiver_bps=0,
                input_checker=checker,
            )


def test_model__with_ranges__is_read_with_them_from_its_checkers_code() -> None:
    chain = FakeChain()
    ranged = spec(input_ranges=RANGES)
    model_id = chain.register(ranged, verifier_code=VERIFIER_CODE)
    registry = RegistryContract(chain.rpc(), REGISTRY)
    model = registry.model(model_id)
    assert model is not None
    assert model.spec == ranged
    assert model.input_checker != ZERO_ADDRESS
    assert not is_foreign_checker(model)
    chain.change_checker(model_id, b"something else")
    model = registry.model(model_id)
    assert model is not None
    assert model.spec == replace(ranged, input_ranges=())
    assert is_foreign_checker(model)
