"""The JavaScript client: request, wait, decode, refund, sign; the same on ethers and on viem."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from eth_utils import keccak
from typer.testing import CliRunner
from web3.logs import DISCARD

from oracle.cli.main import app
from oracle.devnet import fund_new_key
from oracle.errors import SignatureInvalid
from tests.contracts.anvil import CHAIN_ID, Deployed, Devnet
from tests.contracts.world import INPUT, NUMBERS, OPEN, OUTPUT, RESULT, ZERO, packed, tensor_tuple
from tests.js.asked import PAYER, Client, next_request, url_of

VALUES = [number / 2**INPUT.scale for number in NUMBERS]
SCORES = [number / 2**OUTPUT.scale for number in RESULT]
UNKNOWN = {"n": "12345"}
Open = Callable[..., Client]


def whole(value: int | str) -> dict[str, str]:
    return {"n": str(value)}


@pytest.fixture(scope="module")
def mock(devnet: Devnet) -> Any:
    found = devnet.deploy("MockInferenceOracle")
    add = found.functions.addModel(tensor_tuple(INPUT), tensor_tuple(OUTPUT), 10_000)
    devnet.send(add, devnet.accounts[0])
    return found


@pytest.fixture(scope="module", params=["ethers", "viem"])
def opened(workshop: Path, devnet: Devnet, request: pytest.FixtureRequest) -> Iterator[Open]:
    """A client for an oracle; each is one process for all tests."""
    with ExitStack() as stack:

        @cache
        def client(oracle: str, **changes: Any) -> Client:
            started = Client(workshop, request.param, url_of(devnet), oracle, **changes)
            return stack.enter_context(started)

        yield lambda oracle, **changes: client(oracle.address, **changes)


def answer(devnet: Devnet, mock: Any, request_id: int | str, rows: int = 1) -> None:
    call = mock.functions.answer(int(request_id), [*RESULT] * rows)
    devnet.send(call, devnet.accounts[2])


def test_request_and_wait__proved_by_a_node__is_the_decoded_answer(
    opened: Open, deployed: Deployed
) -> None:
    """What is missing, 3: request, event, answer, numbers, against the oracle itself."""
    devnet = deployed.devnet
    since = devnet.w3.eth.block_number
    client = opened(deployed.oracle)
    waiting = client.begin("requestAndWait", deployed.model_id, VALUES)
    asked = next_request(devnet, deployed.oracle, since)
    request_id, request, data, _ = deployed.opened(asked)
    assert data == packed()
    assert request[0] == request[4] == PAYER
    fulfilled = deployed.fulfil(asked)
    found = client.end(waiting)["value"]
    assert found == {
        "status": "fulfilled",
        "requestId": str(request_id),
        "modelId": str(deployed.model_id),
        "rows": [SCORES],
        "values": SCORES,
        "output": "0x" + found["output"].removeprefix("0x"),
        "payee": devnet.accounts[2],
        "callbackSucceeded": found["callbackSucceeded"],
        "blockNumber": str(fulfilled["blockNumber"]),
        "transactionHash": "0x" + bytes(fulfilled["transactionHash"]).hex(),
    }
    assert bytes.fromhex(found["output"][2:]) == b"".join(
        value.to_bytes(OUTPUT.width, "big", signed=True) for value in RESULT
    )


def test_model__its_shapes__by_their_names(opened: Open, mock: Any) -> None:
    """contract-developers D1: a tensor's elements are not an array's length."""
    found = opened(mock)("model", 1)["value"]
    for side, spec in (("input", INPUT), ("output", OUTPUT)):
        assert [int(value) for value in found[side].values()] == list(tensor_tuple(spec))
        assert int(found[side]["elements"]) == spec.length
    assert found["codec"] == 0


def test_request__several_rows__one_proof_and_every_row(
    opened: Open, devnet: Devnet, mock: Any
) -> None:
    client = opened(mock)
    asked = client("request", 1, [VALUES, VALUES, VALUES])["value"]
    open_ = client("outcome", whole(asked["requestId"]))["value"]
    assert open_ == {"status": "open", "requestId": asked["requestId"]}
    answer(devnet, mock, asked["requestId"], rows=3)
    found = client("wait", whole(asked["requestId"]))["value"]
    assert found["rows"] == [SCORES] * 3
    assert found["values"] == SCORES


def test_estimate_cost__is_the_contracts_quote(opened: Open, devnet: Devnet, mock: Any) -> None:
    client, views = opened(mock), mock.functions
    devnet.base_fee(10**9)
    devnet.rpc("anvil_mine")
    assert int(client("estimateCost", 1)["value"]) == views.estimateFee(1, 0).call()
    dear = client("estimateCost", 1, {"rows": 8, "callbackGas": 50_000})["value"]
    assert int(dear) == views.estimateFeeBatch(1, 50_000, 8).call()


def test_requests_of__a_contracts_transaction__are_those_it_made(
    opened: Open, devnet: Devnet, mock: Any
) -> None:
    consumer = devnet.deploy("PredictionConsumer", mock.address, 1)
    call = consumer.functions.predict(packed())
    price = consumer.functions.fee().call()
    receipt = devnet.send(call, devnet.accounts[1], price)
    client = opened(mock)
    (asked,) = client("requestsOf", "0x" + bytes(receipt["transactionHash"]).hex())["value"]
    assert int(asked["requestId"]) == mock.functions.lastRequestId().call()
    assert int(asked["deadline"]) > devnet.w3.eth.get_block("latest")["timestamp"]
    answer(devnet, mock, asked["requestId"])
    found = client("wait", whole(asked["requestId"]))["value"]
    assert (found["values"], found["callbackSucceeded"]) == (SCORES, True)
    assert consumer.functions.prediction(int(asked["requestId"])).call()[2] == list(RESULT)


def test_wait__refunded__says_whose_the_money_is(opened: Open, devnet: Devnet, mock: Any) -> None:
    client, credit = opened(mock), mock.functions.creditOf(ZERO, devnet.accounts[7])
    before = credit.call()
    asked = client("request", 1, VALUES, {"refundTo": devnet.accounts[7]})["value"]
    devnet.send(mock.functions.expire(int(asked["requestId"])), devnet.accounts[0])
    refused = client("wait", whole(asked["requestId"]))
    assert refused["code"] == "REQUEST_REFUNDED"
    assert devnet.accounts[7] in refused["message"]
    outcome = client("outcome", whole(asked["requestId"]))["value"]
    assert (outcome["status"], outcome["refundTo"]) == ("refunded", devnet.accounts[7])
    assert int(outcome["fee"]) + int(outcome["gasMoney"]) == credit.call() - before


@pytest.mark.parametrize("waiting", [{"timeout": 0}, {"timeout": 200}])
def test_wait__no_answer__ends_and_names_the_request(
    opened: Open, mock: Any, waiting: dict[str, Any]
) -> None:
    client = opened(mock)
    asked = client("request", 1, VALUES)["value"]
    refused = client("wait", whole(asked["requestId"]), waiting)
    assert refused["code"] == "REQUEST_TIMEOUT"
    assert f"{int(asked['requestId']):#066x}" in refused["message"]


def test_wait__without_end__ends_with_the_requests_deadline(
    opened: Open, devnet: Devnet, mock: Any
) -> None:
    client = opened(mock)
    asked = client("request", 1, VALUES, {"lifetime": 600})["value"]
    waiting = client.begin("wait", whole(asked["requestId"]), {"timeout": "Infinity"})
    devnet.rpc("evm_increaseTime", 601)
    devnet.rpc("anvil_mine")
    refused = client.end(waiting)
    assert refused["code"] == "REQUEST_TIMEOUT"
    assert "by its deadline" in refused["message"]


def test_wait__aborted__ends_with_the_signals_reason_and_the_request_stays(
    opened: Open, devnet: Devnet, mock: Any
) -> None:
    client = opened(mock)
    asked = client("request", 1, VALUES)["value"]
    long = {"abortAfter": 300, "timeout": "Infinity", "pollingInterval": 600_000}
    assert client("wait", whole(asked["requestId"]), long)["unexpected"].startswith("TimeoutError")
    answer(devnet, mock, asked["requestId"])
    assert client("wait", whole(asked["requestId"]))["value"]["values"] == SCORES


def test_wait__unknown_or_nonsense__is_refused(opened: Open, mock: Any) -> None:
    client = opened(mock)
    assert client("wait", UNKNOWN)["code"] == "REQUEST_UNKNOWN"
    assert client("outcome", UNKNOWN)["value"]["status"] == "unknown"
    assert client("wait", UNKNOWN, {"timeout": -1})["code"] == "USAGE"
    assert client("wait", UNKNOWN, {"timeout": "soon"})["code"] == "USAGE"


def test_request_and_wait__cannot_wait_so__is_refused_before_anything_is_sent(
    opened: Open, devnet: Devnet, mock: Any
) -> None:
    client = opened(mock)
    before = devnet.w3.eth.get_transaction_count(PAYER)
    for name in ("timeout", "pollingInterval"):
        for wrong in (-1, "5s", "5", None, [1]):
            refused = client("requestAndWait", 1, VALUES, {name: wrong})
            assert (refused["code"], name in refused["message"]) == ("USAGE", True), wrong
    aborted = client("requestAndWait", 1, VALUES, {"aborted": True})
    assert aborted["unexpected"].startswith("AbortError")
    assert devnet.w3.eth.get_transaction_count(PAYER) == before


def test_wait__id_as_text__is_found_as_by_number(opened: Open, devnet: Devnet, mock: Any) -> None:
    """As the command line and JSON have it; ended or not."""
    client = opened(mock)
    ids = [int(client("request", 1, VALUES)["value"]["requestId"]) for _ in range(2)]
    answer(devnet, mock, ids[0])
    devnet.send(mock.functions.expire(ids[1]), devnet.accounts[0])
    for form in (f"{ids[0]:#066x}", str(ids[0])):
        assert client("wait", form)["value"]["values"] == SCORES
        assert client("outcome", form)["value"]["requestId"] == str(ids[0])
    for form in (f"{ids[1]:#x}", str(ids[1])):
        assert client("outcome", form)["value"]["status"] == "refunded"
        assert f"answered {ids[1]:#066x} in" in client("wait", form)["message"]
    for wrong in ("iris", "0x", "", "-1", 5, None, whole(-1), whole(1 << 256), "0x" + "1" * 65):
        assert client("wait", wrong)["code"] == "USAGE", wrong
        assert client("outcome", wrong)["code"] == "USAGE", wrong


def test_wait__pause_longer_than_a_timer_takes__does_not_spin(
    opened: Open, devnet: Devnet, mock: Any
) -> None:
    """Node warns of such a timer and makes it 1 ms: every look is a call to the endpoint."""
    client = opened(mock)
    asked = client("request", 1, VALUES)["value"]
    long = {"timeout": "Infinity", "pollingInterval": 2**32, "abortAfter": 300}
    waiting = client.begin("wait", whole(asked["requestId"]), long)
    counted = client("looks")["value"]
    assert client.end(waiting)["unexpected"].startswith("TimeoutError")
    assert client("looks")["value"] - counted <= 2


def test_request__what_does_not_fit__is_refused_before_anything_is_sent(
    opened: Open, devnet: Devnet, mock: Any
) -> None:
    client = opened(mock)
    before = devnet.w3.eth.get_transaction_count(PAYER)
    assert client("request", 1, [1, 2])["code"] == "TENSOR_LENGTH"
    assert client("request", 1, [[1, 2], [3, 4]])["code"] == "TENSOR_LENGTH"
    assert client("request", 1, [1e9, 0, 0, 0])["code"] == "TENSOR_RANGE"
    assert client("request", 1, [VALUES, VALUES], {"lifetime": 60})["code"] == "USAGE"
    for lifetime in (0, 1, -5, 1.5, 31 * 86_400, whole(10**30)):
        assert client("request", 1, VALUES, {"lifetime": lifetime})["code"] == "USAGE", lifetime
    reader = opened(mock, key="")
    assert reader("request", 1, VALUES)["code"] == "USAGE"
    assert reader("estimateCost", 1)["value"]
    assert devnet.w3.eth.get_transaction_count(PAYER) == before


def test_request__the_contract_refuses__its_error_by_name_with_arguments(
    opened: Open, devnet: Devnet, mock: Any, deployed: Deployed
) -> None:
    """contract-developers D11: errors of the registry below have names, too."""
    for client in (opened(mock), opened(deployed.oracle)):
        paid_nothing = client("request", 1, VALUES, {"value": whole(1)})["reverted"]
        assert paid_nothing["name"] == "Underpaid"
        assert paid_nothing["args"][0] == "1"
        too_many = client("estimateCost", 1, {"rows": 999})["reverted"]
        assert too_many["name"] == "InvalidBatchSize"
        assert too_many["args"][0] == "999"
        assert client("model", 99)["reverted"] == {"name": "UnknownModel", "args": ["99"]}


def test_sign_request__its_digest_is_the_contracts_and_anybody_submits_it(
    opened: Open, deployed: Deployed
) -> None:
    """What is missing, 4: types and signature are those that `requestFor` takes."""
    devnet, oracle = deployed.devnet, deployed.oracle
    devnet.send(oracle.functions.deposit(PAYER), devnet.accounts[0], 10**18)
    client = opened(oracle)
    terms = {"relayerTip": whole(77), "maxCost": whole(10**17), "validFor": 600}
    signed = client("signRequest", deployed.model_id, VALUES, terms)["value"]
    request = signed["request"]
    assert (int(signed["chainId"]), signed["oracle"]) == (CHAIN_ID, oracle.address)
    assert (request["account"], request["relayerTip"]) == (PAYER, "77")
    now = devnet.w3.eth.get_block("latest")["timestamp"]
    assert 0 < int(request["validUntil"]) - now <= 601 < int(request["deadline"]) - now
    fields = tuple(value if value.startswith("0x") else int(value) for value in request.values())
    recovered = devnet.w3.eth.account._recover_hash(
        oracle.functions.hashOf(fields).call(), signature=signed["signature"]
    )
    assert recovered == PAYER
    sent = oracle.functions.requestFor(fields, signed["input"], "0x", signed["signature"])
    receipt = devnet.send(sent, devnet.accounts[6])
    (relayed,) = oracle.events.RequestRelayed().process_receipt(receipt, errors=DISCARD)
    assert relayed["args"]["relayer"] == devnet.accounts[6]
    assert request["inputHash"] == "0x" + keccak(packed()).hex()
    nobody = client("signRequest", deployed.model_id, VALUES, {"refundTo": ZERO})
    assert (nobody["code"], "refundTo" in nobody["message"]) == ("USAGE", True)
    another = client("signRequest", deployed.model_id, VALUES)["value"]["request"]
    assert another["nonce"] != request["nonce"], "each takes a nonce of its own"


def test_sign_request__what_it_gives__is_what_oracle_relay_takes(
    opened: Open, deployed: Deployed, tmp_path: Path
) -> None:
    devnet, oracle = deployed.devnet, deployed.oracle
    devnet.send(oracle.functions.deposit(PAYER), devnet.accounts[0], 10**18)
    fund_new_key(devnet.w3, tmp_path / "relayer.key", 10**18)
    terms = {"relayerTip": whole(5)}
    signed = opened(oracle)("signRequest", deployed.model_id, VALUES, terms)["value"]
    (tmp_path / "signed.json").write_text(json.dumps(signed))
    relay = ["relay", str(tmp_path / "signed.json"), "--rpc", url_of(devnet)]
    place = ["--oracle", oracle.address, "--key-file", str(tmp_path / "relayer.key"), "--json"]
    done = CliRunner().invoke(app, [*relay, *place])
    assert done.exit_code == 0, done.exception
    said = json.loads(done.stdout)
    assert said["tip"] == 5
    assert oracle.functions.status(int(said["request_id"], 16)).call() == OPEN
    signed["request"]["relayerTip"] = "6"
    (tmp_path / "signed.json").write_text(json.dumps(signed))
    refused = CliRunner().invoke(app, [*relay, *place]).exception
    assert isinstance(refused, SignatureInvalid)
