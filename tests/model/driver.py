"""Random actions on the contracts and on their model, compared after each.

``python -m tests.model.driver --actions 200000``. A run is a function of its seed; the seed is
printed, and with it a failure comes back: ``--seed N``. On a failure the last actions that touch
the request in question are printed too.

Requesters, nodes, thieves, smart accounts in every mood, publishers and the owner act in any order.
Verifiers accept exactly one statement, `Protocol.proof`, so that a theft fails for the same reason
as on a real chain: there is no proof for it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.model.chain import GAS_LIMIT, Deployed, Log, Reverted
from tests.model.protocol import (
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    ZERO,
    Entry,
    Reasons,
    SignedRequest,
    Status,
)
from tests.model.world import CHAIN_ID, ENOUGH, FEAST, Actor, Mood, World

#: What the oracle cannot measure of a fulfilment, at most: it pays for an estimate of it.
UNMEASURED_GAS = 60_000
#: How many nonces there are for signed requests; few enough to meet again.
NONCES = 30_000
#: Actions between two comparisons of everything.
FULL_CHECK = 500


class Mismatch(AssertionError):
    """The chain did something else than the model."""


@dataclass(frozen=True)
class Expected:
    """What an accepted action must log."""

    opened: Entry | None = None
    #: Request id -> proved outputs.
    results: dict[int, list[int]] = field(default_factory=dict)
    payee: str | None = None


class Driver(World):
    """Acts and compares."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.done: Counter[str] = Counter()
        self._actions: tuple[tuple[int, Callable[[], None]], ...] = (
            (14, self.native_request),
            (10, self.ora_request),
            (6, self.signed_request),
            (1, self.cancel_nonce),
            (5, self.top_up),
            (22, self.fulfil),
            (12, self.batch),
            (5, self.starve),
            (6, self.retry),
            (8, self.refund),
            (6, self.withdraw),
            (5, self.deposit),
            (3, self.govern),
            (2, self.publish),
            (4, self.change_mood),
            (1, self.change_verifier),
            (4, self.let_time_pass),
            (6, self.change_prices),
            (3, self.diagnose),
        )

    def run(self, actions: int, progress: Callable[[int], None] = lambda done: None) -> None:
        """So many random actions.

        Raises:
            Mismatch: chain and model differ; the message tells the seed and the way there.
        """
        weights, steps = zip(*self._actions, strict=True)
        for index in range(actions):
            step = self.random.choices(steps, weights)[0]
            self.begin()
            try:
                step()
                self._check_money()
                if index % FULL_CHECK == FULL_CHECK - 1 or index == actions - 1:
                    self._check_everything()
            except (AssertionError, Reverted) as error:
                raise Mismatch(self._report(index, step.__name__, error)) from error
            progress(index + 1)

    # --- requests

    def native_request(self) -> None:
        account = self._someone()
        model_id, data = self._model_and_input(1)
        target, gas = self._callback(account)
        callback_data = self._bytes()
        refund_to = self._rarely(ZERO, self._anyone())
        lifetime = self.random.choice([60, 3_600, 86_400, 86_400, MAX_LIFETIME])
        deadline = self.model.now + self._rarely(self.random.choice([0, -5, 40 * 86_400]), lifetime)
        value = self._value(model_id, 1, gas, callback_data)
        made = (account, model_id, 1, data, target, gas, callback_data, refund_to, deadline, value)
        call = (model_id, data, target, gas, callback_data, refund_to, deadline)
        self._request("request", call, made)

    def ora_request(self) -> None:
        account = self._someone()
        rows = self._rarely(self.random.choice([0, 5]), self.random.choice([1, 1, 2, 3, 4]))
        model_id, data = self._model_and_input(rows)
        target, gas = self._callback(account)
        callback_data = self._bytes()
        da = self._rarely(1, 0)
        value = self._value(model_id, rows, gas, callback_data)
        if rows != 1:
            name: str = "requestBatchInference"
            call: tuple[Any, ...] = (rows, model_id, data, target, gas, callback_data, da, 0)
        elif da or self.random.random() < 0.5:
            name, call = "requestCallback/7", (model_id, data, target, gas, callback_data, 0, da)
        else:
            name, call = "requestCallback/5", (model_id, data, target, gas, callback_data)
        origin = self._origin(account)
        deadline = self.model.now + DEFAULT_LIFETIME
        made = (account, model_id, rows, data, target, gas, callback_data, origin, deadline, value)
        self._request(name, call, made, data_availability=da)

    def _request(
        self,
        function: str,
        call: tuple[Any, ...],
        made: tuple[Any, ...],
        data_availability: int = 0,
    ) -> None:
        account, model_id, rows, *_, value = made
        reasons = self.model.why_not_request(*made)
        if data_availability:
            reasons |= {"UnsupportedDataAvailability"}
        model = self.model.models.get(model_id)
        fee_taken = 0
        if model is not None and model.token != ZERO and rows:
            kept = self.tokens[model.token][1]
            fee_taken = model.fee * rows
            if kept and fee_taken * kept // 10_000:
                reasons |= {"TokenShortfall"}
            if account == self.thief and fee_taken:
                reasons |= {"ERC20InsufficientAllowance"}
        logs = self._do(account, function, call, reasons, value=value)
        if logs is not None:
            self._settle(logs, Expected(opened=self.model.request(*made)))

    def signed_request(self) -> None:
        account = self.random.choice([*self.people, *self.actors])
        model_id, data = self._model_and_input(1)
        target, gas = self._callback(account)
        callback_data = self._bytes()
        signed = SignedRequest(
            account=account,
            model_id=model_id,
            input_hash=keccak(self._rarely(b"other", data)),
            callback_contract=target,
            callback_gas=gas,
            callback_data_hash=keccak(self._rarely(b"other", callback_data)),
            refund_to=self._rarely(ZERO, self._anyone()),
            deadline=self.model.now + self._rarely(-1, 3_600),
            max_cost=0,
            relayer_tip=self.random.choice([0, 0, 1_000, 10**9]),
            nonce=self.random.choice([self.random.randrange(NONCES), 2**256 - 1, 2**128]),
            valid_until=self.model.now + self._rarely(-1, self.random.choice([0, 60])),
        )
        cost = self.model.cost_for(signed, callback_data) if model_id in self.model.models else 0
        limit = max(cost - self._rarely(1, -self.random.randrange(2)), 0)
        signed = replace(signed, max_cost=limit)
        genuine = self.random.random() > 0.1
        digest = signed.digest(CHAIN_ID, self.oracle.address)
        if not genuine:
            digest = self.random.choice(
                [
                    replace(signed, nonce=signed.nonce ^ 1).digest(CHAIN_ID, self.oracle.address),
                    signed.digest(CHAIN_ID + 1, self.oracle.address),
                    signed.digest(CHAIN_ID, self.registry.address),
                ]
            )
        signature = self._sign(account, digest)
        reasons = self.model.why_not_request_for(signed, data, callback_data, genuine=genuine)
        relayer = self._person()
        call = (signed.fields, data, callback_data, signature)
        logs = self._do(relayer, "requestFor", call, reasons)
        if logs is not None:
            entry = self.model.request_for(signed, data, callback_data, relayer)
            self._settle(logs, Expected(opened=entry))
            relayed = _event(logs, "RequestRelayed")
            self._same(relayed["relayer"], relayer)
            self._same(relayed["tip"], signed.relayer_tip)

    def cancel_nonce(self) -> None:
        account, nonce = self._person(), self.random.randrange(NONCES)
        used = (account, nonce) in self.model.used_nonces
        self._same(self.chain.read(self.oracle, "isNonceUsed", account, nonce), used)
        reasons = frozenset({"NonceUsed"} if used else ())
        if self._do(account, "cancelNonce", (nonce,), reasons) is not None:
            self.model.used_nonces.add((account, nonce))

    def top_up(self) -> None:
        item = self._some_item()
        if item is None:
            return
        money = item.request.gas_money
        value = self.random.choice([-(-money // 8), money // 3, money // 8 - 1])
        value = max(value, 1)
        reasons = self.model.why_not_top_up(item, value)
        call = (item.request_id, item.request.fields)
        logs = self._do(self._person(), "topUp", call, reasons, value=value)
        if logs is not None:
            self.model.top_up(item, value)
            raised = self.model.requests[item.request_id].request.gas_money
            self._same(_event(logs, "RequestToppedUp")["gasMoney"], raised)

    # --- results

    def fulfil(self) -> None:
        self._fulfil(GAS_LIMIT)

    def starve(self) -> None:
        """Too little gas must not turn a good callback into a failed one."""
        self._fulfil(self.random.randrange(100_000, self.random.choice([1_500_000, 4_000_000])))

    def _fulfil(self, gas: int) -> None:
        item = self._some_item()
        if item is None:
            return
        entry = self.model.requests.get(item.request_id)
        sender, payee = self._node(), self._payee()
        model_id = entry.request.model_id if entry else item.request.model_id
        outputs = self._outputs(model_id, entry.rows if entry else 1)
        proof = self._proof([item], payee, outputs, entry)
        if entry is not None:
            outputs = self._tampered(outputs)
        reasons = self.model.why_not_fulfil(item, payee, outputs, proof)
        call = (
            item.request_id,
            item.request.fields,
            item.input,
            item.callback_data,
            payee,
            outputs,
            proof,
        )
        logs = self._do(sender, "fulfill", call, reasons, gas=gas, may_starve=gas < GAS_LIMIT)
        if logs is not None:
            assert entry is not None
            self._settle(logs, Expected(results={entry.request_id: outputs}, payee=payee))
            self._same(_event(logs, "AICallbackResult")["invoker"], sender)

    def batch(self) -> None:
        count = self._rarely(self.random.choice([0, 5]), self.random.choice([1, 2, 3, 4, 4]))
        items = self._batch_items(count)
        sender, payee = self._node(), self._payee()
        if not items:
            self._do(sender, "fulfillBatch", ([], payee, [], b""), frozenset({"NothingToDeliver"}))
            return
        model_id = items[0].request.model_id
        outputs = self._outputs(model_id, len(items))
        proof = self._proof(items, payee, outputs, None)
        outputs = self._tampered(outputs)
        reasons = self.model.why_not_batch(items, payee, outputs, proof)
        call = (
            [(i.request_id, i.request.fields, i.input, i.callback_data) for i in items],
            payee,
            outputs,
            proof,
        )
        sorted_items = self.model.sort_batch(items)
        logs = self._do(sender, "fulfillBatch", call, reasons)
        if logs is None:
            return
        width = self.model.models[model_id].output.length
        results = {
            items[position].request_id: outputs[position * width : (position + 1) * width]
            for position, why in sorted_items.items()
            if why is None
        }
        skipped = Counter(
            (items[position].request_id, why.value)
            for position, why in sorted_items.items()
            if why is not None
        )
        told = Counter(
            (log.values["requestId"], log.values["reason"])
            for log in logs
            if log.name == "RequestSkipped"
        )
        self._same(told, skipped)
        self._settle(logs, Expected(results=results, payee=payee))

    def retry(self) -> None:
        failed = [i for i in self._ended[-300:] if self.model.requests[i].undelivered]
        if not failed or self.random.random() < 0.1:
            failed = self._ended[-50:]
        if not failed:
            return
        entry = self.model.requests[self._about(self.random.choice(failed))]
        target, promised = entry.request.callback_contract, entry.request.callback_gas
        limit = self.random.choice([promised, ENOUGH, FEAST, max(promised - 1, 0)])
        output = self._rarely(b"another output", entry.output or b"")
        data = self._rarely(b"other data", entry.callback_data)
        refund_to = self._rarely(self._person(), entry.request.refund_to)
        call = (entry.request_id, target, promised, refund_to, limit, output, data)
        reasons = self.model.why_not_retry(*call)
        actor = self.actors.get(target)
        if actor is None or not actor.succeeds(limit):
            reasons |= {"CallbackFailed"}
        logs = self._do(self._person(), "retryCallback", call, reasons)
        if logs is not None:
            assert actor is not None
            entry.undelivered = False
            self._delivered(actor, entry)
            self._settle(logs, Expected())
            self._same(_event(logs, "CallbackRetried")["requestId"], entry.request_id)

    def refund(self) -> None:
        item = self._some_item(prefer_expired=True)
        if item is None:
            return
        reasons = self.model.why_not_refund(item)
        call = (item.request_id, item.request.fields)
        logs = self._do(self._person(), "refund", call, reasons)
        if logs is not None:
            self.model.refund(item)
            self._end(item.request_id)
            event = _event(logs, "RequestRefunded")
            self._same(event["refundTo"], item.request.refund_to)
            self._same(event["fee"], item.request.fee)
            self._same(event["gasMoney"], item.request.gas_money)

    # --- money

    def withdraw(self) -> None:
        token = self.random.choice([ZERO, ZERO, *self.tokens])
        account = self._someone()
        to = self._rarely(self.random.choice([ZERO, self.oracle.address]), self._anyone())
        self._withdraw(account, token, to, account, "withdrawTo")

    def _withdraw(self, sender: str, token: str, to: str, account: str, function: str) -> None:
        reasons = set()
        if not self.model.credits[token, account] or to in (ZERO, self.oracle.address):
            reasons.add("NothingToWithdraw")
        if token == ZERO and to in self.actors and self.actors[to].refuses_money:
            reasons.add("WithdrawalFailed")
        if function == "withdrawProtocolFees" and sender != self.model.owner:
            reasons.add("OwnableUnauthorizedAccount")
        in_short = function == "withdrawTo" and token == ZERO and self.random.random() < 0.5
        call = (to,) if in_short else (token, to)
        function = f"{function}/{len(call)}"
        logs = self._do(sender, function, call, frozenset(reasons))
        if logs is not None:
            amount = self.model.withdraw(token, account)
            self._same(_event(logs, "Withdrawn")["amount"], amount)
            self._settle(logs, Expected())

    def deposit(self) -> None:
        account = self._rarely(ZERO, self._anyone())
        sender = self._person()
        token = self.random.choice([ZERO, ZERO, *self.tokens])
        amount = self.random.choice([10**9, 10**6, 0, 12_345])
        reasons = {"InvalidDeposit"} if account == ZERO or amount == 0 else set()
        if token == ZERO and self.random.random() < 0.9:
            call: tuple[Any, ...] = (account,)
            logs = self._do(sender, "deposit", call, frozenset(reasons), value=amount)
            arrived = amount
        else:
            if token == ZERO:
                reasons.add("InvalidDeposit")
            elif sender == self.thief and amount:
                reasons.add("ERC20InsufficientAllowance")
            call = (token, account, amount)
            logs = self._do(sender, "depositToken", call, frozenset(reasons))
            arrived = amount - amount * self.tokens.get(token, (None, 0))[1] // 10_000
        if logs is not None:
            self.model.credits[token, account] += arrived
            self._same(_event(logs, "Deposited")["amount"], arrived)

    # --- who may decide something

    def govern(self) -> None:
        if self.model.paused and self.random.random() < 0.5:
            # Pauses are short: a paused oracle teaches little.
            self._do(self.model.owner, "setPaused", (False,), frozenset())
            self.model.paused = False
            return
        sender = self.random.choice([*self.owners, self.thief, self.model.owner, self.model.owner])
        refused = {"OwnableUnauthorizedAccount"} if sender != self.model.owner else set()
        match self.random.randrange(5):
            case 0:
                wanted = self.random.random() < 0.2
                if self._do(sender, "setPaused", (wanted,), frozenset(refused)) is not None:
                    self.model.paused = wanted
            case 1:
                bps = self.random.choice([0, 1, 250, 1_000, 1_001])
                if bps > 1_000:
                    refused.add("ProtocolFeeTooHigh")
                if self._do(sender, "setProtocolFee", (bps,), frozenset(refused)) is not None:
                    self.model.protocol_bps = bps
            case 2:
                token = self.random.choice([ZERO, *self.tokens])
                to = self._rarely(ZERO, self._anyone())
                self._withdraw(sender, token, to, self.oracle.address, "withdrawProtocolFees")
            case 3:
                heir = self.random.choice(self.owners)
                if self._do(sender, "transferOwnership", (heir,), frozenset(refused)) is not None:
                    self.model.pending_owner = heir
            case 4:
                refused = (
                    {"OwnableUnauthorizedAccount"} if sender != self.model.pending_owner else set()
                )
                if self._do(sender, "acceptOwnership", (), frozenset(refused)) is not None:
                    self.model.owner, self.model.pending_owner = sender, ZERO

    def publish(self) -> None:
        model_id = self.random.randint(1, len(self.model.models))
        model = self.model.models[model_id]
        sender = self.random.choice([*self.publishers, self.thief])
        reasons = {"NotPublisher"} if sender != model.publisher else set()
        if self.random.random() < 0.5:
            successor = self.random.randint(0, len(self.model.models) + 1)
            if model_id in self.model.successors or not (
                model_id < successor <= len(self.model.models)
            ):
                reasons |= {"InvalidSuccessor", "UnknownModel"}
            call = (model_id, successor)
            named = self._do(sender, "setSuccessor", call, frozenset(reasons), to=self.registry)
            if named is not None:
                self.model.successors[model_id] = successor
        elif (
            model_id not in self.model.closed
            and model.verifier not in self.model.changed_verifiers
            and self.random.random() < 0.2
        ):
            closed = self._do(sender, "close", (model_id,), frozenset(reasons), to=self.registry)
            if closed is not None:
                self.model.closed.add(model_id)
                self._register(model)

    # --- the world around it

    def change_mood(self) -> None:
        actor = self.random.choice([*self.actors.values()])
        actor.mood = self.random.choice(
            [Mood.CONTENT, Mood.CONTENT, Mood.MEDDLING, Mood.HUNGRY, *Mood]
        )
        actor.refuses_money = self.random.random() < 0.3
        actor.nested, target, value, call = None, ZERO, 0, b""
        if actor.mood is Mood.MEDDLING:
            target, value, call = self._meddling(actor)
        arguments = (int(actor.mood), actor.refuses_money, target, value, call)
        self._note(f"{self._name(actor.address)} feels {actor.mood.name}")
        self.chain.send(self.people[0], actor.deployed, actor.deployed.calldata("feel", *arguments))
        self.chain.fund(actor.address)

    def change_verifier(self) -> None:
        """Code that accepts the same, but is not what was registered; or back again."""
        verifier, changed = self.changing_verifier, self.model.changed_verifiers
        if verifier in changed:
            changed.remove(verifier)
            self.chain.copy_code(verifier, self.verifier)
        else:
            changed.add(verifier)
            self.chain.set_code(verifier, self.chain.code(self.verifier) + b"\0")
        self._note(f"the changing verifier is {'another' if changed else 'itself'}")

    def let_time_pass(self) -> None:
        seconds = self._rarely(86_400, self.random.choice([1, 30, 600, 3_600]))
        self._note(f"{seconds} seconds pass")
        self.chain.set_block(seconds=seconds)
        self.model.now = self.chain.now

    def change_prices(self) -> None:
        base_fee = self.random.choice([0, 1, 7, self.model.base_fee * 9 // 8, 50, 200])
        self.chain.set_block(base_fee=base_fee)
        self.model.base_fee = base_fee
        self.chain.gas_price = base_fee + self.random.choice([0, 1, 20])
        self._note(f"the base fee is {base_fee}, the gas price {self.chain.gas_price}")
        model_id = self.random.randint(1, len(self.model.models))
        model = self.model.models[model_id]
        if model_id not in self.model.closed:
            rows, gas = self.random.choice([*model.verify_gas]), self.random.choice([0, 100_000])
            fee = model.fee * rows if model.token == ZERO else 0
            expected = fee + self.model.price() * self.model.gas_units(model_id, rows, gas, 0)
            quoted = self.chain.read(self.oracle, "estimateFeeBatch", model_id, gas, rows)
            self._same(quoted, expected)
            if rows == 1:
                self._same(self.chain.read(self.oracle, "estimateFee", model_id, gas), expected)

    def diagnose(self) -> None:
        item = self._some_item()
        if item is None:
            return
        entry = self.model.requests.get(item.request_id)
        found = self.chain.read(
            self.lens, "diagnose", item.request_id, item.request.fields, item.input
        )
        needed = self.model.base_fee or self.model.last_base_fee
        short = needed * item.request.gas_units - item.request.gas_money
        if entry is None:
            reason = 0
        elif entry.status is Status.FULFILLED:
            reason = 2 if entry.undelivered else 1
        elif entry.status is Status.REFUNDED:
            reason = 3
        elif entry.request.commitment != item.request.commitment or item.input != entry.item.input:
            reason = 4
        elif self.model.now > entry.request.deadline:
            reason = 5
        else:
            reason = 6 if short > 0 else 7
        self._same(found[0], reason)
        if reason >= 6:
            self._same(found[1], max(short, 0))
            self._same(found[3], item.request.deadline - self.model.now)
            self._same(found[6], item.request.model_id in self.model.closed)
            verifier = self.model.models[item.request.model_id].verifier
            self._same(found[7], verifier in self.model.changed_verifiers)

    # --- doing and comparing

    def _do(
        self,
        sender: str,
        function: str,
        arguments: Sequence[Any],
        reasons: Reasons,
        *,
        value: int = 0,
        gas: int = GAS_LIMIT,
        to: Deployed | None = None,
        may_starve: bool = False,
    ) -> list[Log] | None:
        """Send it; its logs, or None where it was refused, as the model said it would be."""
        target = to or self.oracle
        self.done[function.partition("/")[0]] += 1
        self._note(f"{self._name(sender)}: {function} value={value} refusable={sorted(reasons)}")
        self._tx_origin = self._origin(sender)
        data = target.calldata(function, *arguments)
        try:
            if sender in self.actors:
                actor = self.actors[sender].deployed
                data = actor.calldata("perform", target.address, data)
                _, logs = self.chain.send(self._tx_origin, actor, data, value=value, gas=gas)
            else:
                _, logs = self.chain.send(sender, target, data, value=value, gas=gas)
        except Reverted as refusal:
            if refusal.name in reasons:
                self.done[f"refused: {refusal.name}"] += 1
                return None
            if may_starve and refusal.name in ("gas", "NotEnoughGas", ""):
                self.done["starved"] += 1
                return None
            raise Mismatch(f"refused with {refusal.name or 'nothing'}, not {reasons}") from None
        if reasons:
            raise Mismatch(f"accepted in spite of {sorted(reasons)}")
        return logs

    def _settle(self, logs: list[Log], expected: Expected) -> None:
        """Walk through what was logged, and do the same in the model."""
        opened = iter([expected.opened] if expected.opened else [])
        results = dict(expected.results)
        for index, log in enumerate(logs):
            if log.name == "AICallbackRequest":
                asked = log.values
                entry = next(opened, None) or self._nested(
                    asked["account"], self._default_refund_to(logs, index)
                )
                self._same(asked["requestId"], entry.request_id)
                self._same(asked["input"], entry.input)
            elif log.name == "RequestOpened":
                entry = self.model.requests[log.values["requestId"]]
                for name in ("refundTo", "deadline", "fee", "gasMoney", "gasUnits", "protocolBps"):
                    self._same(log.values[name], getattr(entry.request, _field(name)))
                self._opened(entry)
                last = self.chain.read(self.oracle, "lastBaseFee")
                self._same(last, self.model.last_base_fee)
            elif log.name == "AICallbackResult":
                entry = self.model.requests[log.values["requestId"]]
                outputs = results[entry.request_id]
                self._same(log.values["output"], self.model.encode(entry, outputs))
                self._same(log.values["account"], entry.request.account)
            elif log.name == "RequestFulfilled":
                self._fulfilled(log.values, results, expected.payee)
            elif log.name == "Meddled":
                # Only a request may come out of a callback; everything else is guarded.
                actor = self.actors[log.address]
                if log.values["success"] and actor.nested is None:
                    raise Mismatch("a guarded call went through from inside a callback")
        self._same(results, {})
        for request_id in expected.results:
            self._end(request_id)
            self._check_request(request_id)

    def _fulfilled(
        self, told: dict[str, Any], results: dict[int, list[int]], payee: str | None
    ) -> None:
        entry = self.model.requests[told["requestId"]]
        request = entry.request
        actor = self.actors.get(request.callback_contract)
        succeeds = actor is not None and actor.succeeds(request.callback_gas)
        self._same(told["callbackSucceeded"], succeeds)
        assert payee is not None
        self._same(told["payee"], payee)
        outputs = results.pop(entry.request_id)
        fee_paid = self.model.fulfil(entry, payee, outputs, told["gasPaid"], delivered=succeeds)
        self._same(told["feePaid"], fee_paid)
        price = min(self.chain.gas_price, request.gas_money // request.gas_units)
        most = price * (self.chain.gas_used * 5 // 4 + UNMEASURED_GAS)
        if told["gasPaid"] > min(most, request.gas_money):
            raise Mismatch(f"paid {told['gasPaid']} for gas, more than {most}")
        if succeeds:
            assert actor is not None
            self._delivered(actor, entry)

    def _delivered(self, actor: Actor, entry: Entry) -> None:
        actor.deliveries += 1
        received = self.chain.read(actor.deployed, "received", entry.request_id)
        expected = encode(["bytes", "bytes"], [entry.output or b"", entry.callback_data])
        self._same(received, keccak(expected))

    def _default_refund_to(self, logs: list[Log], index: int) -> str:
        """Whose the unspent money is when the request logged at ``index`` names nobody.

        That of the request whose callback was running: its result is logged after the callback, a
        retry before. Else that of the account behind the transaction.
        """
        for log in logs[index:]:
            if log.name == "AICallbackResult":
                return self.model.requests[log.values["requestId"]].request.refund_to
        for log in logs[:index]:
            if log.name == "CallbackRetried":
                return self.model.requests[log.values["requestId"]].request.refund_to
        return self._tx_origin

    def _nested(self, account: str, refund_to: str) -> Entry:
        """The request that a meddling actor made from its callback."""
        actor = self.actors[account]
        plan = actor.nested
        if plan is None:
            raise Mismatch("a request that nobody meant to make")
        deadline = self.model.now + DEFAULT_LIFETIME
        made = (account, plan.model_id, 1, plan.data, ZERO, 0, b"", refund_to, deadline, plan.value)
        self.done["nested request"] += 1
        reasons = self.model.why_not_request(*made)
        if reasons:
            raise Mismatch(f"a nested request was accepted in spite of {sorted(reasons)}")
        return self.model.request(*made)

    def _check_money(self) -> None:
        self._same(self.chain.balance(self.oracle.address), self.model.holdings(ZERO))

    def _check_everything(self) -> None:
        for address, (token, _) in self.tokens.items():
            held = self.chain.read(token, "balanceOf", self.oracle.address)
            self._same(held, self.model.holdings(address))
        for token_address in (ZERO, *self.tokens):
            for account in (*self.accounts, self.oracle.address, ZERO):
                credit = self.chain.read(self.oracle, "creditOf", token_address, account)
                self._same(credit, self.model.credits[token_address, account])
        for account in self.accounts:
            repeats = self.chain.read(self.oracle, "repeats", account)
            self._same(repeats, self.model.repeats[account])
        for actor in self.actors.values():
            self._same(self.chain.read(actor.deployed, "deliveries"), actor.deliveries)
        seen = [*self._open, *self._ended[-20:]]
        for request_id in {*seen, *self.random.sample(self._ended, min(20, len(self._ended)))}:
            self._check_request(request_id)

    def _check_request(self, request_id: int) -> None:
        entry = self.model.requests[request_id]
        read = self.chain.read
        self._same(read(self.oracle, "status", request_id), entry.status.value)
        self._same(read(self.oracle, "isFinalized", request_id), entry.status is not Status.OPEN)
        if entry.status is Status.OPEN:
            commitment = read(self.oracle, "commitments", request_id)
            self._same(commitment, entry.request.commitment)
        retriable = bytes(read(self.oracle, "undelivered", request_id)) != bytes(32)
        self._same(retriable, entry.undelivered)

    @staticmethod
    def _same(chain: object, model: object) -> None:
        if chain != model:
            raise Mismatch(f"the chain says {chain!r}, the model {model!r}")

    def _report(self, index: int, action: str, error: Exception) -> str:
        lines = [f"seed {self.seed}, action {index} ({action}): {error!r}"]
        lines += ["What led there:", *(f"  {line}" for line in self.history())]
        lines += [f"Again: python -m tests.model.driver --seed {self.seed} --actions {index + 1}"]
        return "\n".join(lines)


def _event(logs: Iterable[Log], name: str) -> dict[str, Any]:
    (found,) = [log.values for log in logs if log.name == name]
    return found


def _field(name: str) -> str:
    """An ABI name as a Python one."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def main() -> int:
    """Run, tell the seed, and count what was done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    started = time.monotonic()

    def progress(done: int) -> None:
        if done % 10_000 == 0:
            print(f"{done} actions in {time.monotonic() - started:.0f} s", flush=True)

    driver = Driver(seed)
    try:
        driver.run(chosen.actions, progress)
    except Mismatch as mismatch:
        print(mismatch)
        return 1
    for what, times in driver.done.most_common():
        print(f"{times:8} {what}")
    print(f"{chosen.actions} actions in {time.monotonic() - started:.0f} s: chain and model agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
