"""A request's events, read from the newest block back."""

from __future__ import annotations

import pytest

from oracle import tensor
from oracle.chain.contracts import OracleContract
from oracle.chain.rpc import Rpc
from oracle.chain.trail import Trail, trail_of
from oracle.errors import RpcLimit
from oracle.testing import ORACLE, FakeChain, FaultyRpc
from tests.node.world import VERIFIER_CODE, spec

INPUT = tensor.pack((1, 2), 4)


@pytest.fixture
def chain() -> FakeChain:
    made = FakeChain()
    made.register(spec(), verifier_code=VERIFIER_CODE)
    return made


def trail(chain: FakeChain, request_id: int, first: int = 0) -> Trail:
    rpc = chain.rpc()
    return trail_of(rpc, OracleContract(rpc, ORACLE), request_id, first, chain.height)


def events(found: Trail) -> list[str]:
    return [happening.event for happening in found.happenings]


@pytest.mark.parametrize("limit", [None, 1, 3, 1000])
def test_trail__whatever_the_endpoints_limit__holds_this_requests_events_in_order(
    chain: FakeChain, limit: int | None
) -> None:
    chain.mine(5)
    request_id, other = chain.request(1, INPUT), chain.request(1, INPUT)
    chain.mine(5)
    chain.top_up(request_id, 10**15)
    chain.top_up(request_id, 10**15)
    chain.mine(5)
    chain.log_limit = limit
    found = trail(chain, request_id)
    assert events(found) == [
        *("AICallbackRequest", "RequestOpened", "RequestToppedUp", "RequestToppedUp")
    ]
    assert found.request is not None
    assert found.request.key.request_id == request_id
    assert found.request.gas_money == 10**16 + 2 * 10**15
    newest = found.last("RequestToppedUp")
    assert newest is not None
    assert newest.fields["gasMoney"] == found.request.gas_money
    assert events(trail(chain, other)) == ["AICallbackRequest", "RequestOpened"]


def test_trail__request_found__older_blocks_are_not_read(chain: FakeChain) -> None:
    chain.mine(1000)
    request_id = chain.request(1, INPUT)
    chain.log_limit = 1
    endpoint = FaultyRpc(chain)
    rpc = Rpc(["http://fake"], chain.chain_id, transport=lambda _url, _timeout: endpoint)
    found = trail_of(rpc, OracleContract(rpc, ORACLE), request_id, 0, chain.height)
    assert found.request is not None
    # Halving down to one block, then two queries for that block.
    assert endpoint.calls.count("eth_getLogs") < 20


def test_trail__nobody_asked__is_empty(chain: FakeChain) -> None:
    assert trail(chain, 7) == Trail(None, ())
    request_id = chain.request(1, INPUT)
    assert trail(chain, request_id, first=chain.height + 1).request is None


def test_trail__endpoint_takes_no_block_at_all__says_so(chain: FakeChain) -> None:
    request_id = chain.request(1, INPUT)
    chain.log_limit = 0
    with pytest.raises(RpcLimit):
        trail(chain, request_id)
