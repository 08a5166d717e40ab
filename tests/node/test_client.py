"""`oracle.client` against the real contracts on anvil; a node answers while it waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web3.contract import Contract

from oracle import client as module
from oracle import tensor
from oracle.chain.artifacts import contract
from oracle.chain.input_ranges import creation_code
from oracle.chain.registration import registration
from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.client import OracleClient
from oracle.devnet import CHAIN_ID, fund_new_key, transact
from oracle.errors import (
    AccountUnfunded,
    OracleError,
    RequestRefunded,
    RequestTimeout,
    RequestUnknown,
    TensorEncoding,
    TensorLength,
    TensorRange,
    TransactionReverted,
    UsageError,
)
from oracle.types import Codec
from oracle.why import Cause

from .test_anvil import Devnet, devnet
from .world import Clock
from .world import spec as make_spec

__all__ = ["devnet"]  # pytest finds the fixture by its name here

ETHER = 10**18
#: The second element within -1 to 1, in 256ths.
RANGES = ((-1000, 1000), (-256, 256))


@pytest.fixture
def make_client(devnet: Devnet, tmp_path: Path) -> Callable[..., OracleClient]:
    """Makes clients of one funded account."""
    fund_new_key(devnet.anvil.w3, tmp_path / "caller.key", ETHER)

    def make(**options: Any) -> OracleClient:
        signer = LocalSigner.from_key_file(tmp_path / "caller.key")
        return OracleClient(
            Rpc([devnet.anvil.url], CHAIN_ID), devnet.oracle.address, signer, **options
        )

    return make


@pytest.fixture
def client(devnet: Devnet, make_client: Callable[..., OracleClient]) -> OracleClient:
    """The node works whenever the client waits for an answer, and not for a block."""

    def sleep(seconds: float) -> None:
        if seconds == module.POLL:
            devnet.settle()
        else:
            time.sleep(seconds)

    return make_client(sleep=sleep)


@pytest.fixture
def registry(devnet: Devnet, client: OracleClient) -> Contract:
    return devnet.anvil.w3.eth.contract(
        address=client._registry.address,  # type: ignore[call-overload]
        abi=contract("ModelRegistry").abi,
    )


def test_request__a_row__is_answered_with_a_row(devnet: Devnet, client: OracleClient) -> None:
    handle = client.request(devnet.model_id, np.array([0.5, -1.25]))
    assert handle.result() is None
    result = handle.wait(60)
    assert result.values.dtype == np.float64
    np.testing.assert_array_equal(result.values, [-1.25, 0.5])
    assert (result.request_id, result.payee) == (handle.request_id, devnet.account)
    (event,) = devnet.fulfilments(handle.request_id)
    assert result.transaction_hash == bytes(event["transactionHash"])
    assert result.block_number == event["blockNumber"]


def test_request__rows__are_answered_in_one_proof_and_one_array(
    devnet: Devnet, client: OracleClient
) -> None:
    rows = np.array([[0.5, -1.25], [1, 2], [0, 0.25]])
    result = client.request(devnet.model_id, rows).wait(60)
    np.testing.assert_array_equal(result.values, rows[:, ::-1])
    (job,) = devnet.prover.submitted
    assert len(job.inputs) == 2 * 4


def test_request__one_row_of_two_dimensions__keeps_them(
    devnet: Devnet, client: OracleClient
) -> None:
    result = client.request(devnet.model_id, [[1, 2]]).wait(60)
    assert result.values.shape == (1, 2)


def test_handle__awaited__gives_what_wait_gives(
    devnet: Devnet, make_client: Callable[..., OracleClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.01)
    client = make_client()

    async def ask(number: float) -> Any:
        handle = await asyncio.to_thread(client.request, devnet.model_id, [number, 0])
        return await handle

    async def main() -> list[Any]:
        asked = [asyncio.create_task(ask(number)) for number in (1, 2, 3)]
        while not all(task.done() for task in asked):
            devnet.settle()
            await asyncio.sleep(0.02)
        return await asyncio.gather(*asked)

    results = asyncio.run(main())
    assert [list(result.values) for result in results] == [[0, 1], [0, 2], [0, 3]]


def test_handle__awaited_too_long__is_the_loops_timeout_and_leaves_no_thread(
    devnet: Devnet, make_client: Callable[..., OracleClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.01)
    handle = make_client().request(devnet.model_id, [1, 2])

    async def main() -> None:
        async with asyncio.timeout(0.1):
            await handle

    # `asyncio.run` joins the threads of its loop: a wait that went on would hold it up.
    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_wait__nobody_answers__says_how_to_find_out_why(
    devnet: Devnet, make_client: Callable[..., OracleClient]
) -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    client = make_client()
    handle = client.request(devnet.model_id, [1, 2])
    # Only now: the request itself waits for a real block.
    client.clock, client.sleep = clock, sleep
    with pytest.raises(RequestTimeout, match="after 5 s") as caught:
        handle.wait(5)
    assert caught.value.remedy == f"Ask: oracle why {handle.request_id:#066x}"
    assert handle.why().cause is Cause.NO_NODE


def test_wait__refunded__does_not_wait_on(devnet: Devnet, client: OracleClient) -> None:
    handle = client.request(devnet.model_id, [1, 2], lifetime=60)
    devnet.rpc("evm_increaseTime", 61)
    devnet.rpc("evm_mine")
    client.refund(handle.request_id)
    with pytest.raises(RequestRefunded, match="credit"):
        handle.wait(60)
    credit = client.credit()
    assert credit > 0
    recipient = "0x" + "77" * 20
    assert client.withdraw(recipient) == credit
    assert devnet.anvil.w3.eth.get_balance(recipient) == credit  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ([1, 2, 3], TensorLength),
        ([], TensorLength),
        ([[[1, 2]]], TensorLength),
        ([1, float("nan")], TensorRange),
        ([1, 1e300], TensorRange),
        ([1, 100], TensorRange),
        ([[1, 2], [3]], TensorEncoding),
        (["one", "two"], TensorEncoding),
        ([None, 1], TensorRange),  # numpy makes it nan
    ],
    ids=str,
)
def test_request__input_that_does_not_fit__is_refused_before_money_moves(
    devnet: Devnet, client: OracleClient, values: Any, error: type[OracleError]
) -> None:
    with pytest.raises(error):
        client.request(devnet.model_id, values)
    assert devnet.anvil.w3.eth.get_balance(client.account) == ETHER  # type: ignore[arg-type]


def test_request__element_beyond_its_own_range__is_refused_before_money_moves(
    devnet: Devnet, client: OracleClient, registry: Contract
) -> None:
    """Of any row, though the other element reaches that far."""
    w3 = devnet.anvil.w3
    publisher = w3.eth.accounts[1]
    sent = w3.eth.send_transaction({"from": publisher, "data": creation_code(RANGES)})
    checker = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)["contractAddress"]
    plain = client.model(devnet.model_id)
    terms = registration(
        replace(plain.spec, input_ranges=RANGES),
        verifiers=(plain.verifier, *plain.batch_verifiers),
        fee=plain.fee,
        receiver=plain.receiver,
        receiver_bps=0,
        input_checker=str(checker),
    )
    transact(registry.functions.register(terms), publisher)
    model = client.model(2)
    assert (model.spec.input_ranges, model.input_checker) == (RANGES, checker)
    for values in ([2, 1.5], [2, -1.5], [[2, 1], [2, 2]]):
        with pytest.raises(TensorRange, match=r"value 1 is .*, outside \[-1\.0, 1\.0\]"):
            client.request(2, values)
    assert w3.eth.get_balance(client.account) == ETHER  # type: ignore[arg-type]
    assert client.request(2, [[2, 1], [2, -1]]).model == model


def test_request__more_rows_than_any_circuit__says_how_many_there_can_be(
    devnet: Devnet, client: OracleClient
) -> None:
    with pytest.raises(TensorLength, match="4 rows at most"):
        client.request(devnet.model_id, np.zeros((5, 2)))


def test_request__rows_with_a_lifetime__says_that_there_is_none(
    devnet: Devnet, client: OracleClient
) -> None:
    with pytest.raises(UsageError, match="own lifetime"):
        client.request(devnet.model_id, [[1, 2], [3, 1]], lifetime=60)


def test_request__model_closed__names_its_successor(
    devnet: Devnet, client: OracleClient, registry: Contract
) -> None:
    publisher = devnet.anvil.w3.eth.accounts[1]
    transact(registry.functions.close(1), publisher)
    with pytest.raises(UsageError, match="takes no new requests") as caught:
        client.request(1, [1, 2])
    assert caught.value.remedy == "Choose another"
    with pytest.raises(UsageError, match="there is no model 9"):
        client.request(9, [1, 2])


def test_request__account_is_empty__says_what_it_costs(
    devnet: Devnet, client: OracleClient
) -> None:
    devnet.rpc("anvil_setBalance", client.account, hex(10**6))
    with pytest.raises(AccountUnfunded):
        client.request(devnet.model_id, [1, 2])


def test_client__without_an_account__reads_and_does_not_ask(
    devnet: Devnet, client: OracleClient
) -> None:
    handle = client.request(devnet.model_id, [1, 2])
    handle.wait(60)
    reader = OracleClient(Rpc([devnet.anvil.url], CHAIN_ID), devnet.oracle.address)
    found = reader.handle(handle.request_id).result()
    assert found is not None
    assert list(found.values) == [2, 1]
    with pytest.raises(UsageError, match="no account"):
        reader.request(devnet.model_id, [1, 2])
    with pytest.raises(RequestUnknown):
        reader.handle(7)


def test_requests__from_threads__take_one_nonce_each(
    devnet: Devnet, make_client: Callable[..., OracleClient]
) -> None:
    client = make_client()
    with ThreadPoolExecutor(4) as pool:
        handles = list(pool.map(lambda i: client.request(1, [i, 0]), range(4)))
    assert len({handle.request_id for handle in handles}) == 4


def test_top_up__reaches_the_request_and_too_little_is_refused(
    devnet: Devnet, client: OracleClient
) -> None:
    handle = client.request(devnet.model_id, [1, 2])
    before = client.why(handle.request_id).request
    assert before is not None
    with pytest.raises(UsageError, match="too small"):
        client.top_up(handle.request_id, before.gas_money // 8 - 1)
    assert client.top_up(handle.request_id, 10**15) == before.gas_money + 10**15
    after = client.why(handle.request_id).request
    assert after is not None
    assert after.gas_money == before.gas_money + 10**15


def test_retry__callback_that_did_not_fail__is_refused(
    devnet: Devnet, client: OracleClient
) -> None:
    handle = client.request(devnet.model_id, [1, 2])
    with pytest.raises(UsageError, match="no answer"):
        client.retry(handle.request_id)
    handle.wait(60)
    with pytest.raises(TransactionReverted) as caught:
        client.retry(handle.request_id)
    assert caught.value.name == "NothingToRetry"


@pytest.mark.parametrize("codec", list(Codec))
def test_rows__encoded_and_decoded__are_the_same_whatever_the_codec(codec: Codec) -> None:
    model = make_spec(codec=codec)
    rows, spec = np.array([[0.5, -1.25], [1, 2], [0, 0.25]]), model.input
    data = module._encode(rows, model)
    assert tensor.rows(data, spec, codec) == ((128, -320), (256, 512), (0, 64))
    output = tensor.write(
        [value for row in tensor.rows(data, spec, codec) for value in row], spec, codec
    )
    np.testing.assert_array_equal(module._decode(output, spec, codec), rows)
