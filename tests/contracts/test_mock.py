"""The mock is held to the real oracle: the same consumers, the same calls, the same outcome.

Every test with `desk` runs on both. What it compares are errors with their arguments, events, ids,
credits and the gas that a callback starts with; only the node's gas, which the mock has to guess, is
compared as a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3.exceptions import ContractCustomError

from oracle import tensor
from tests.contracts.anvil import Deployed, register
from tests.contracts.evm import GAS_LIMIT, Chain, Contract, Receipt, Reverted, artifact
from tests.contracts.world import (
    ALICE,
    BOB,
    FEE,
    FULFILLED,
    GAS_MONEY,
    INPUT,
    NODE,
    NUMBERS,
    OPEN,
    OUTPUT,
    PUBLISHER,
    RECEIVER,
    RECEIVER_BPS,
    REFUNDED,
    RESULT,
    THIEF,
    VERIFY_GAS,
    ZERO,
    Ticket,
    World,
    make_world,
    packed,
    tensor_tuple,
    ticket,
)

MONEY = FEE + GAS_MONEY
#: Money left over for the gas of a callback.
GAS = 200_000
GWEI = 10**9
#: What only nodes, relayers, token holders and the owner call.
NOT_MOCKED = {
    "cancelNonce",
    "depositToken",
    "fulfill",
    "fulfillBatch",
    "hashOf",
    "isNonceUsed",
    "requestFor",
    "setProtocolFee",
    "tagOf",
    "withdrawProtocolFees",
}


@dataclass
class Desk:
    """A world whose oracle is the real one or the mock, and how its requests end."""

    world: World
    is_mock: bool

    def answer(
        self,
        asked: Ticket,
        outputs: Sequence[int] = RESULT,
        *,
        numbers: Sequence[int] = NUMBERS,
        size: int = 1,
        gas: int = GAS_LIMIT,
    ) -> Receipt:
        """Answer a request for `numbers`, on the real oracle with the circuit of `size` rows."""
        if self.is_mock:
            arguments = (asked.request_id, list(outputs))
            return self.world.oracle("answer", *arguments, sender=NODE, gas=gas)
        rows = [numbers[i : i + INPUT.length] for i in range(0, len(numbers), INPUT.length)]
        missing = size * OUTPUT.length - len(outputs) if size > 1 else 0
        proved = [*outputs, *[0] * missing]
        statement = (tensor.pad(rows, size), [asked.request_id], NODE, proved)
        proof = self.world.statement(*statement)
        done: Receipt = self.world.fulfil(asked, outputs=proved, proof=proof, gas=gas)
        return done

    def expire(self, asked: Ticket) -> Receipt:
        if self.is_mock:
            return self.world.oracle("expire", asked.request_id, sender=THIEF)
        self.world.chain.advance(max(0, asked.deadline + 1 - self.world.chain.now))
        done: Receipt = self.world.refund(asked)
        return done

    def consumer(self, name: str, *arguments: Any) -> Contract:
        return self.world.deploy(name, *arguments)


def mock_world() -> World:
    """As `make_world`, with the mock and the registry that it made itself."""
    world = make_world()
    mock = world.chain.deploy("MockInferenceOracle")
    registry = world.chain.at(mock.read("registry"), "ModelRegistry")
    mocked = replace(world, oracle=mock, registry=registry)
    return replace(mocked, model_id=mocked.register())


MAKERS: dict[str, Callable[[], World]] = {"real": make_world, "mock": mock_world}


@pytest.fixture(params=MAKERS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(MAKERS[request.param](), is_mock=request.param == "mock")


# The template's consumer and the others, on both.


def test_consumer__is_called_back_with_the_answer_and_never_inside_the_request(desk: Desk) -> None:
    consumer = desk.consumer("RecordingConsumer")
    asked = desk.world.ask(consumer, data=b"context")
    assert consumer.read("calls") == 0
    receipt = desk.answer(asked)
    assert consumer.read("calls") == 1
    assert consumer.read("requestId") == asked.request_id
    assert consumer.read("output") == tensor.pack(RESULT, OUTPUT.width)
    assert consumer.read("callbackData") == b"context"
    assert consumer.read("caller").lower() == desk.world.oracle.address.lower()
    assert desk.world.status(asked) == FULFILLED
    assert [event.name for event in receipt.events] == ["AICallbackResult", "RequestFulfilled"]
    assert receipt.event("AICallbackResult")["output"] == tensor.pack(RESULT, OUTPUT.width)
    assert receipt.event("RequestFulfilled")["callbackSucceeded"]


def test_prediction_consumer__reads_the_registry_and_keeps_the_scores(desk: Desk) -> None:
    consumer = desk.consumer("PredictionConsumer", desk.world.model_id)
    money = consumer.read("fee") + GAS_MONEY
    receipt = consumer("predict", packed(), sender=ALICE, value=money)
    asked = ticket(receipt.events)
    assert not consumer.read("prediction", asked.request_id)[0]
    desk.answer(asked)
    assert consumer.read("prediction", asked.request_id) == (True, 0, RESULT)


def test_text_model__text_in_text_out(desk: Desk) -> None:
    model_id = desk.world.register(codec=1)
    asked = desk.world.request(model_id=model_id, data=b"[1.5, -0.25, 0, 7]")
    receipt = desk.answer(asked, numbers=(384, -64, 0, 1792))
    values = [value / 2**OUTPUT.scale for value in RESULT]
    found = receipt.event("AICallbackResult")["output"].decode().split(",")
    assert [float(text) for text in found] == pytest.approx(values, abs=1e-6)
    with pytest.raises(Reverted, match="TextSyntax"):
        desk.world.request(model_id=model_id, data=b"[1.5, x]")
    with pytest.raises(Reverted, match="TextTooLong"):
        desk.world.request(model_id=model_id, data=b" " * 129)
    with pytest.raises(Reverted, match="InputLength"):
        desk.world.request(model_id=model_id, data=b"1,2,3")


def test_plain_caller__written_for_ora__works(desk: Desk) -> None:
    consumer = desk.consumer("PlainCaller")
    receipt = consumer("ask", desk.world.model_id, packed(), sender=ALICE, value=MONEY)
    asked = ticket(receipt.events)
    desk.answer(asked)
    assert consumer.read("results", asked.request_id) == tensor.pack(RESULT, OUTPUT.width)


def test_nested_request__belongs_to_the_refund_address_of_the_first(desk: Desk) -> None:
    consumer = desk.consumer("NestedConsumer")
    desk.world.chain.fund(consumer.address, MONEY)
    data = encode(["uint256", "bytes"], [desk.world.model_id, packed()])
    asked = desk.world.ask(consumer, gas=600_000, data=data, sender=BOB)
    receipt = desk.answer(asked)
    nested = ticket(receipt.events)
    assert nested.request_id == consumer.read("nestedRequestId")
    assert nested.refund_to == BOB
    desk.answer(nested)
    assert desk.world.status(nested) == FULFILLED


@pytest.mark.parametrize("name", ["RevertingConsumer", "BurningConsumer"])
def test_failed_callback__costs_the_callback_and_not_the_answer(desk: Desk, name: str) -> None:
    asked = desk.world.ask(desk.consumer(name), gas=30_000)
    receipt = desk.answer(asked)
    assert not receipt.event("RequestFulfilled")["callbackSucceeded"]
    assert desk.world.status(asked) == FULFILLED
    output = receipt.event("AICallbackResult")["output"]
    arguments = (asked.request_id, asked.callback_contract, asked.callback_gas, asked.refund_to)
    rest = (output, asked.callback_data)
    with pytest.raises(Reverted, match="RetryGas"):
        desk.world.oracle("retryCallback", *arguments, 29_999, *rest)
    with pytest.raises(Reverted, match="NothingToRetry"):
        desk.world.oracle("retryCallback", *arguments, 30_000, b"other", asked.callback_data)
    with pytest.raises(Reverted, match="CallbackFailed"):
        desk.world.oracle("retryCallback", *arguments, 30_000, *rest)


def test_retry__with_more_gas__delivers_once(desk: Desk) -> None:
    consumer = desk.consumer("RecordingConsumer")
    asked = desk.world.ask(consumer, gas=30_000)
    output = desk.answer(asked).event("AICallbackResult")["output"]
    arguments = (asked.request_id, asked.callback_contract, asked.callback_gas, asked.refund_to)
    call = ("retryCallback", *arguments, 300_000, output, asked.callback_data)
    receipt = desk.world.oracle(*call)
    assert [event.name for event in receipt.events] == ["CallbackRetried"]
    assert consumer.read("calls") == 1
    with pytest.raises(Reverted, match="NothingToRetry"):
        desk.world.oracle(*call)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [("withdrawTo", (ALICE,)), ("withdrawTo", (ZERO, ALICE))],
)
def test_callback__that_takes_money_or_ends_requests__is_refused(
    desk: Desk, function: str, arguments: tuple[Any, ...]
) -> None:
    consumer = desk.consumer("ReentrantConsumer")
    attack = desk.world.oracle.calldata(function, *arguments)
    consumer("prepare", attack)
    desk.answer(desk.world.ask(consumer))
    assert consumer.read("attacked")
    assert not consumer.read("succeeded")
    assert consumer.read("answer").hex() == "3ee5aeb5"  # ReentrancyGuardReentrantCall()


def test_thief__calling_the_consumer__is_not_the_oracle(desk: Desk) -> None:
    consumer = desk.consumer("PredictionConsumer", desk.world.model_id)
    with pytest.raises(Reverted, match="NotOracle"):
        consumer("aiOracleCallback", 1, b"", b"", sender=THIEF)


# Both say the same to the same calls.


def test_request__underpaid__says_what_is_required(desk: Desk) -> None:
    with pytest.raises(Reverted) as refused:
        desk.world.request(value=FEE - 1)
    assert (refused.value.name, refused.value.values) == ("Underpaid", (FEE - 1, FEE))


def test_answer__out_of_the_models_range_or_of_another_length__is_refused(desk: Desk) -> None:
    asked = desk.world.request()
    for outputs in ((OUTPUT.maximum + 1, 0, 0), (0, OUTPUT.minimum - 1, 0)):
        with pytest.raises(Reverted, match="InvalidOutput"):
            desk.answer(asked, outputs)
    with pytest.raises(Reverted, match="OutputLength"):
        desk.answer(asked, RESULT[:2])
    assert desk.world.status(asked) == OPEN


def test_answer__with_too_little_gas_for_the_promise__reverts(desk: Desk) -> None:
    asked = desk.world.ask(desk.consumer("RecordingConsumer"), gas=3_000_000)
    with pytest.raises(Reverted, match="NotEnoughGas"):
        desk.answer(asked, gas=2_000_000)
    assert desk.world.status(asked) == OPEN


def test_answer__twice_or_after_the_deadline__is_refused(desk: Desk) -> None:
    asked = desk.world.request(lifetime=60)
    late = desk.world.request(BOB, lifetime=60)
    desk.answer(asked)
    with pytest.raises(Reverted) as refused:
        desk.answer(asked)
    assert (refused.value.name, refused.value.values) == ("NotOpen", (asked.request_id, FULFILLED))
    desk.world.chain.advance(61)
    with pytest.raises(Reverted, match="DeadlinePassed"):
        desk.answer(late)
    desk.world.refund(late)
    assert desk.world.status(late) == REFUNDED


def test_money__the_node_is_paid_and_the_rest_comes_back(desk: Desk) -> None:
    consumer = desk.consumer("RecordingConsumer")
    asked = desk.world.ask(consumer, value=MONEY, sender=BOB)
    paid = desk.answer(asked).event("RequestFulfilled")
    publisher = FEE * RECEIVER_BPS // 10_000
    assert paid["feePaid"] == FEE - publisher
    assert desk.world.credit(RECEIVER) == publisher
    assert desk.world.credit(NODE) == paid["feePaid"] + paid["gasPaid"]
    assert desk.world.credit(BOB) == GAS_MONEY - paid["gasPaid"]
    assert 0 < paid["gasPaid"] < 10 * asked.gas_units
    before = desk.world.chain.balance(ALICE)
    desk.world.oracle("withdrawTo", ALICE, sender=BOB)
    assert desk.world.chain.balance(ALICE) == before + GAS_MONEY - paid["gasPaid"]
    with pytest.raises(Reverted, match="NothingToWithdraw"):
        desk.world.oracle("withdrawTo", ALICE, sender=BOB)


def test_money__that_its_recipient_refuses__stays(desk: Desk) -> None:
    desk.world.oracle("deposit", BOB, sender=ALICE, value=5)
    recipient = desk.consumer("RecordingConsumer")
    with pytest.raises(Reverted, match="WithdrawalFailed"):
        desk.world.oracle("withdrawTo", recipient.address, sender=BOB)
    assert desk.world.credit(BOB) == 5
    with pytest.raises(Reverted, match="InvalidDeposit"):
        desk.world.oracle("deposit", BOB, sender=ALICE)


def test_expired__everything_comes_back_and_nothing_is_called(desk: Desk) -> None:
    consumer = desk.consumer("RecordingConsumer")
    asked = desk.world.ask(consumer, sender=BOB)
    with pytest.raises(Reverted, match="DeadlineNotPassed"):
        desk.world.refund(asked)
    receipt = desk.expire(asked)
    assert receipt.event("RequestRefunded") == {
        "requestId": asked.request_id,
        "refundTo": BOB.lower(),
        "fee": FEE,
        "gasMoney": GAS_MONEY,
    }
    assert desk.world.credit(BOB) == MONEY
    assert consumer.read("calls") == 0
    assert desk.world.oracle.read("isFinalized", asked.request_id)


def test_top_up__raises_the_commitment(desk: Desk) -> None:
    asked = desk.world.request()
    call = ("topUp", asked.request_id)
    with pytest.raises(Reverted, match="TopUpTooSmall"):
        desk.world.oracle(*call, asked.preimage, value=1)
    with pytest.raises(Reverted, match="CommitmentMismatch"):
        desk.world.oracle(*call, replace(asked, fee=1).preimage, value=GAS_MONEY)
    desk.world.oracle(*call, asked.preimage, value=GAS_MONEY)
    raised = replace(asked, gas_money=2 * GAS_MONEY)
    with pytest.raises(Reverted, match="CommitmentMismatch"):
        desk.world.oracle(*call, asked.preimage, value=GAS_MONEY)
    assert desk.world.credit(ALICE) == 0
    desk.expire(raised)
    assert desk.world.credit(ALICE) == FEE + 2 * GAS_MONEY


def test_batch__rows_in_rows_out(desk: Desk) -> None:
    model_id = desk.world.register(sizes=(1, 8))
    numbers = [*NUMBERS, *reversed(NUMBERS)]
    arguments = (2, model_id, packed(numbers), ZERO, 0, b"", 0, 0)
    receipt = desk.world.oracle(
        "requestBatchInference", *arguments, sender=ALICE, value=2 * FEE + GAS_MONEY
    )
    asked = ticket(receipt.events)
    assert asked.fee == 2 * FEE
    assert desk.world.status(asked) == OPEN
    outputs = [*RESULT, 1, 2, 3]
    done = desk.answer(asked, outputs, numbers=numbers, size=8)
    assert done.event("AICallbackResult")["output"] == tensor.pack(outputs, OUTPUT.width)
    for rows in (0, 9):
        with pytest.raises(Reverted, match="InvalidBatchSize"):
            desk.world.oracle("requestBatchInference", rows, *arguments[1:], value=MONEY)


def test_views__describe_the_model_as_ora_does(desk: Desk) -> None:
    oracle = desk.world.oracle
    model = oracle.read("getModel", desk.world.model_id)
    assert model == (b"\1" * 32, b"\3" * 32, FEE, RECEIVER.lower(), 25, 0, ZERO, False)
    assert oracle.read("numberOfModels") == 1
    assert oracle.read("modelIDs", 0) == 1
    with pytest.raises(Reverted, match="IndexOutOfRange"):
        oracle.read("modelIDs", 1)
    with pytest.raises(Reverted, match="ModelNotOpen"):
        oracle.read("estimateFee", 7, 0)
    assert oracle.read("protocolBps") == 0
    assert not oracle.read("isFinalized", 1)


def test_data_availability__other_than_calldata__is_refused(desk: Desk) -> None:
    arguments = (desk.world.model_id, packed(), ZERO, 0, b"")
    assert desk.world.oracle("requestCallback", *arguments, 0, 0, value=MONEY).value
    for choice in ((1, 0), (0, 1)):
        with pytest.raises(Reverted, match="UnsupportedDataAvailability"):
            desk.world.oracle("requestCallback", *arguments, *choice, value=MONEY)
        with pytest.raises(Reverted, match="UnsupportedDataAvailability"):
            desk.world.oracle("requestBatchInference", 1, *arguments, *choice, value=MONEY)


@pytest.fixture(scope="module")
def both() -> tuple[World, World]:
    return make_world(), mock_world()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    value=st.one_of(st.sampled_from([0, FEE - 1, FEE, MONEY, 2**96 + FEE]), st.integers(0, 10**20)),
    data=st.one_of(
        st.just(packed()),
        st.binary(max_size=10),
        st.lists(st.integers(-2001, 2001), min_size=4, max_size=4).map(packed),
    ),
    model=st.sampled_from([1, 1, 1, 0, 2, 9]),
    callback=st.sampled_from([ZERO, ALICE, BOB]),
    gas=st.sampled_from([0, 1, 200_000, 5_000_000, 5_000_001]),
    length=st.sampled_from([0, 5, 8_192, 8_193]),
    refund_to=st.sampled_from([ALICE, ZERO, THIEF]),
    lifetime=st.sampled_from([-1, 0, 1, 3600, 30 * 86_400, 30 * 86_400 + 1]),
    native=st.booleans(),
)
def test_any_request__has_the_same_outcome(
    both: tuple[World, World],
    value: int,
    data: bytes,
    model: int,
    callback: str,
    gas: int,
    length: int,
    refund_to: str,
    lifetime: int,
    native: bool,
) -> None:
    """Errors with their arguments, or the same events but for the id, which names the oracle."""

    def outcome(world: World) -> Any:
        for account in (ALICE, BOB):
            world.chain.fund(account, 10**30)
        arguments: tuple[Any, ...] = (model, data, callback, gas, b"x" * length)
        if native:
            arguments += (refund_to, world.chain.now + lifetime)
        function = "request" if native else "requestCallback"
        if world.registry.read("count") == 1:
            closed = world.register()
            world.registry("close", closed, sender=PUBLISHER)
        try:
            done = world.oracle(function, *arguments, sender=ALICE, value=value)
        except Reverted as refused:
            return refused.name, refused.values
        events = [(e.name, {**e.values, "requestId": 0}) for e in done.events]
        repeat = world.oracle.read("repeats", ALICE)
        return events, repeat, world.oracle.read("status", done.value)

    real, mocked = map(outcome, both)
    assert real == mocked


def test_ids__are_made_alike(both: tuple[World, World]) -> None:
    """The id of a mocked request is what the real formula gives for the mock's address."""
    for world in (make_world(), mock_world()):
        for repeat in range(3):
            asked = world.request()
            content = [1, world.oracle.address, repeat, ALICE, world.model_id]
            kinds = ["uint256", "address", "uint256", "address", "uint256", "bytes32"]
            hashed = encode(kinds, [*content, asked.preimage[10]])
            assert asked.request_id == int.from_bytes(keccak(hashed), "big")


def test_callback__starts_with_the_same_gas_to_the_last_unit() -> None:
    found = set()
    for world, is_mock in ((make_world(), False), (mock_world(), True)):
        consumer = world.deploy("RecordingConsumer")
        Desk(world, is_mock).answer(world.ask(consumer, gas=GAS, data=b"abc"))
        found.add(consumer.read("gasAtEntry"))
    assert len(found) == 1


# On anvil, where there is a base fee.


def test_quote_and_least_payment__follow_the_base_fee_alike(deployed: Deployed) -> None:
    devnet = deployed.devnet
    mock = devnet.deploy("MockInferenceOracle")
    registry = devnet.w3.eth.contract(
        address=mock.functions.registry().call(), abi=artifact("ModelRegistry").abi
    )
    model_id = register(devnet, registry, devnet.deploy("HashVerifier").address)
    for wei in (40 * GWEI, GWEI, 3 * GWEI):
        devnet.base_fee(wei)
        devnet.rpc("anvil_mine")
        quotes, refusals, remembered = [], [], []
        for oracle, model in ((deployed.oracle, deployed.model_id), (mock, model_id)):
            quotes.append(oracle.functions.estimateFee(model, 50_000).call())
            call = oracle.functions.requestCallback(model, packed(), ZERO, 0, b"")
            with pytest.raises(ContractCustomError) as refused:
                call.call({"from": devnet.accounts[1], "value": FEE, "gasPrice": 50 * GWEI})
            refusals.append(refused.value.data)
        for oracle, model in ((deployed.oracle, deployed.model_id), (mock, model_id)):
            call = oracle.functions.requestCallback(model, packed(), ZERO, 0, b"")
            devnet.base_fee(wei)
            assert devnet.send(call, devnet.accounts[1], quotes[0], gas=900_000)["status"] == 1
            remembered.append(oracle.functions.lastBaseFee().call())
        assert quotes[0] == quotes[1] > FEE + wei * VERIFY_GAS
        assert refusals[0] == refusals[1]
        assert remembered == [wei, wei]


# What only the mock has.


def test_add_model__can_be_asked_and_closed() -> None:
    chain = Chain()
    chain.fund(ALICE)
    mock = chain.deploy("MockInferenceOracle")
    tensors = (tensor_tuple(INPUT), tensor_tuple(OUTPUT))
    model_id = mock("addModel", *tensors, FEE).value
    mock("requestCallback", model_id, packed(), ZERO, 0, b"", sender=ALICE, value=MONEY)
    assert mock.read("requestCount") == 1
    asked = mock.read("lastRequestId")
    assert asked == mock.read("requestIds", 0)
    assert mock.read("requestOf", asked)[1:] == (packed(), b"")
    batch = (64, model_id, packed(NUMBERS * 64), ZERO, 0, b"", 0, 0)
    mock("requestBatchInference", *batch, sender=ALICE, value=64 * FEE)
    mock("closeModel", model_id)
    with pytest.raises(Reverted, match="ModelNotOpen"):
        mock("requestCallback", model_id, packed(), ZERO, 0, b"", sender=ALICE, value=MONEY)
    mock("setPaused", True)
    with pytest.raises(Reverted, match="RequestsPaused"):
        mock("requestCallback", model_id, packed(), ZERO, 0, b"", sender=ALICE, value=MONEY)


def test_retry__in_one_call() -> None:
    world = mock_world()
    consumer = world.deploy("RecordingConsumer")
    asked = world.ask(consumer, gas=30_000)
    with pytest.raises(Reverted, match="NothingToRetry"):
        world.oracle("retry", asked.request_id, 300_000)
    Desk(world, is_mock=True).answer(asked)
    assert consumer.read("calls") == 0
    world.oracle("retry", asked.request_id, 300_000)
    assert consumer.read("calls") == 1


def test_answer_error__reaches_a_consumer_that_listens_and_gives_everything_back() -> None:
    world = mock_world()
    listening, deaf = world.deploy("ErrorConsumer"), world.deploy("RecordingConsumer")
    heard = world.ask(listening, sender=BOB, data=b"context")
    assert world.oracle("answerError", heard.request_id, 1, b"why").value is True
    assert listening.read("requestId") == heard.request_id
    assert listening.read("code") == 1
    assert listening.read("message") == b"why"
    assert listening.read("callbackData") == b"context"
    assert world.credit(BOB) == MONEY
    assert world.status(heard) == REFUNDED
    unheard = world.ask(deaf, sender=BOB)
    assert world.oracle("answerError", unheard.request_id, 0, b"").value is False
    nobody = world.request(BOB)
    assert world.oracle("answerError", nobody.request_id, 0, b"").value is False
    assert world.credit(BOB) == 3 * MONEY


def test_not_mocked__is_said_and_is_the_short_list_of_what_is_no_consumers() -> None:
    world = mock_world()
    interface = {e["name"] for e in artifact("IInferenceOracle").abi if e["type"] == "function"}
    found = set()
    for entry in world.oracle.artifact.abi:
        if entry["type"] == "function" and entry["name"] in interface:
            data = world.oracle.calldata(entry["name"], *map(zero_of, entry["inputs"]))
            if refusal(world, data) == ("NotMocked", (data[:4],)):
                found.add(entry["name"])
    assert found == NOT_MOCKED
    with pytest.raises(Reverted, match="NotMocked"):
        world.oracle("withdrawTo", BOB, ALICE)
    token = world.chain.deploy("TestToken")
    priced = world.register(token=token.address)
    with pytest.raises(Reverted, match="NotMocked"):
        world.request(model_id=priced)
    with pytest.raises(Reverted, match="NotMocked"):
        world.oracle.read("estimateFee", priced, 0)


def test_mock__fits_the_code_size_limit() -> None:
    assert 0 < len(artifact("MockInferenceOracle").deployed_bytecode) <= 24_576


def refusal(world: World, data: bytes) -> tuple[str, tuple[Any, ...]] | None:
    try:
        world.chain.send(ALICE, world.oracle.address, data, 0, GAS_LIMIT)
    except Reverted as refused:
        return refused.name, refused.values
    return None


def zero_of(parameter: dict[str, Any]) -> Any:
    kind = parameter["type"]
    if kind.endswith("[]"):
        return []
    if kind == "tuple":
        return tuple(map(zero_of, parameter["components"]))
    if kind == "address":
        return ZERO
    if kind.startswith("bytes"):
        return bytes(int(kind.removeprefix("bytes") or 0))
    return False if kind == "bool" else 0
