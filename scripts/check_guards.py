"""Do the tests bite? Take guards away, one at a time, and see a test fail for each.

`make check-guards` changes a line, runs the tests that stand for it as `make test` runs
them (exhaustive sets sampled), puts the line back, and writes ``build/bench/guards.json``. A guard
without which the tests stay green fails the run, and so does one whose text is not in its file any
more. It changes the checkout itself, so it wants one without other changes in these files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from oracle.config import build_dir, project_root
from scripts.bench_report import table, write

_ORACLE = "contracts/InferenceOracle.sol"
_ADAPTER = "contracts/OraAdapter.sol"
_LEDGER = "oracle/store/ledger.py"
_SUBMITTER = "oracle/services/submitter.py"
_WATCHER = "oracle/services/watcher.py"
_REVEAL = "oracle/circuits/reveal.py"
_WORKER = "oracle/prover/worker.py"
_MONEY = ("tests/contracts/test_money.py", "tests/contracts/test_gas_on_anvil.py", "tests/model")
_DELIVERY = ("tests/contracts/test_fulfilment.py", "tests/contracts/test_batches.py", "tests/model")
_CRASH = ("tests/crash",)
_CLOCK = ("tests/node/test_clock.py",)
#: What fails where the changed text is no program.
_NO_CODE = ("SolidityRejected", "SyntaxError", "NameError", "ImportError")


@dataclass(frozen=True)
class Guard:
    """A line that something rests on."""

    name: str
    path: str
    #: Occurs once in the file.
    text: str
    #: What is there without the guard.
    without: str
    #: Arguments of pytest.
    tests: tuple[str, ...]


GUARDS = (
    # --- money ---
    Guard(
        "a request pays its gas at today's base fee at least",
        _ORACLE,
        "if (msg.value < required) revert Underpaid(msg.value, required);",
        "",
        _MONEY,
    ),
    Guard(
        "a payee is paid at the transaction's gas price at most",
        _ORACLE,
        "if (price > tx.gasprice) price = tx.gasprice;",
        "",
        _MONEY,
    ),
    Guard(
        "a payee is paid from the request's own gas money alone",
        _ORACLE,
        "if (gasPaid > req.gasMoney) gasPaid = req.gasMoney;",
        "",
        _MONEY,
    ),
    Guard(
        "a credit that is withdrawn is gone",
        _ORACLE,
        "creditOf[token][account] = 0;",
        "",
        _MONEY,
    ),
    Guard(
        "a refund waits for the deadline",
        _ORACLE,
        "if (block.timestamp <= req.deadline) revert DeadlineNotPassed(req.deadline);",
        "",
        _MONEY,
    ),
    Guard(
        "a refund ends the request",
        _ORACLE,
        "commitments[requestId] = REFUNDED;",
        "",
        _MONEY,
    ),
    Guard(
        "a signature is used once",
        _ORACLE,
        "_usedNonces[account].set(nonce);",
        "",
        ("tests/contracts/test_signed.py", "tests/model"),
    ),
    # --- what a proof is for ---
    Guard(
        "the tag names the payee",
        "contracts/libraries/ProofTag.sol",
        "return uint256(keccak256(abi.encode(chainId, oracle, idsHash, payee)));",
        "return uint256(keccak256(abi.encode(chainId, oracle, idsHash, address(uint160(payee) & 0))));",
        _DELIVERY,
    ),
    Guard(
        "the tag names the requests of a batch",
        "contracts/libraries/ProofTag.sol",
        "hash := keccak256(add(ids, 32), mul(mload(ids), 32))",
        "hash := keccak256(add(ids, 32), 32)",
        _DELIVERY,
    ),
    Guard(
        "the input is the one that was asked for",
        _ORACLE,
        'if (keccak256(input) != req.inputHash) revert PreimageMismatch("input");',
        "",
        _DELIVERY,
    ),
    Guard(
        "the verifier is the one that was registered",
        _ORACLE,
        "if (terms.verifier.codehash != terms.codeHash) revert VerifierChanged(terms.verifier);",
        "",
        _DELIVERY,
    ),
    Guard(
        "a verifier answers with one word",
        "contracts/libraries/ExactCall.sol",
        "return success && size == 32 && value == 1;",
        "return success && value == 1;",
        _DELIVERY,
    ),
    Guard(
        "a request of a batch is paid once",
        _ORACLE,
        "            live[i] = true;\n            commitments[requestId] = FULFILLED;",
        "            live[i] = true;",
        _DELIVERY,
    ),
    Guard(
        "an answer after the deadline is refused",
        _ORACLE,
        "        _requirePreimage(requestId, req);\n"
        "        if (block.timestamp > req.deadline) revert DeadlinePassed(req.deadline);\n"
        "        if (keccak256(input)",
        "        _requirePreimage(requestId, req);\n        if (keccak256(input)",
        _DELIVERY,
    ),
    Guard(
        "a callback gets the gas that it was promised",
        "contracts/libraries/ExactCall.sol",
        "if (available < gasLimit) revert NotEnoughGas(available, gasLimit);",
        "",
        ("tests/contracts/test_callbacks.py",),
    ),
    Guard(
        "an id that no model has stands for no other model",
        "contracts/libraries/DataContract.sol",
        "if (nonce == 0 || nonce > type(uint32).max) return address(0);",
        "",
        ("tests/contracts/test_model_data.py",),
    ),
    Guard(
        "terms that are not there are none",
        "contracts/libraries/ModelData.sol",
        "if (terms.size == 0) revert IModelErrors.UnknownModel(modelId);",
        "",
        ("tests/contracts/test_model_data.py",),
    ),
    Guard(
        "a model that one party could forge stays on local chains",
        "contracts/ModelRegistry.sol",
        "if (trust == Trust.OneParty && !local) {",
        "if (trust > Trust.Transparent) {",
        ("tests/contracts/test_trust.py",),
    ),
    Guard(
        "a model is trusted as its weakest circuit",
        "contracts/ModelRegistry.sol",
        "if (trust < weakest) weakest = trust;",
        "weakest = trust;",
        ("tests/contracts/test_trust.py",),
    ),
    Guard(
        "no account's key can exchange a verifier",
        "contracts/ModelRegistry.sol",
        "if (DelegatedCode.isAt(entry.verifier)) revert DelegatedVerifier(entry.verifier);",
        "",
        ("tests/contracts/test_trust.py",),
    ),
    Guard(
        "an input element is held to its own range",
        "contracts/ModelRegistry.sol",
        "if (terms.has(Terms.HAS_CHECKER)) {",
        "if (terms.has(0)) {",
        ("tests/contracts/test_input_ranges.py",),
    ),
    Guard(
        "a model's checker is one of such an input",
        "contracts/ModelRegistry.sol",
        "if (elements != input.elements || minimum < input.minimum || maximum > input.maximum) {",
        "if (length == 0 || minimum > maximum) {",
        ("tests/contracts/test_input_ranges.py",),
    ),
    Guard(
        "a node proves no element that is beyond its own range",
        "oracle/policy.py",
        "tensor.check(row, served.spec.input, served.spec.input_ranges)",
        "tensor.check(row, served.spec.input)",
        ("tests/node/test_scheduler.py",),
    ),
    Guard(
        "a proof of another input or tag leaves no prover",
        _WORKER,
        "if instances[: len(stated)] != stated:",
        "if instances[:0] != stated[:0]:",
        ("tests/circuits/test_prover.py",),
    ),
    Guard(
        "an SRS file is the one that the hash says",
        _WORKER,
        'if digest.hexdigest() != params["srs_hash"]:',
        "if not digest.hexdigest():",
        ("tests/circuits/test_prover.py", "tests/circuits/test_srs.py"),
    ),
    # --- ORA's consumers behind the adapter ---
    Guard(
        "only the oracle answers the adapter's consumers",
        _ADAPTER,
        "if (msg.sender != address(oracle)) revert NotOracle(msg.sender);",
        "",
        ("tests/contracts/test_ora_answers.py",),
    ),
    Guard(
        "nobody feeds a stranger's consumer",
        _ADAPTER,
        "if (callbackContract != address(0)) _requireAccepted(callbackContract, msg.sender);",
        "",
        ("tests/contracts/test_ora_answers.py",),
    ),
    Guard(
        "consent can be withdrawn",
        _ADAPTER,
        "_requireAccepted(target, entry.account);",
        "",
        ("tests/contracts/test_ora_answers.py", "tests/contracts/test_ora_errors.py"),
    ),
    Guard(
        "an error is told once",
        _ADAPTER,
        "delete refusals[requestId];",
        "",
        ("tests/contracts/test_ora_errors.py",),
    ),
    Guard(
        "no error is told in the transaction of its request",
        _ADAPTER,
        "if (_refusedNow(requestId).tload()) revert TooEarly(requestId);",
        "",
        ("tests/contracts/test_ora_errors.py",),
    ),
    Guard(
        "no error is told while the oracle delivers",
        _ADAPTER,
        "if (!_isOracleIdle()) revert OracleBusy();",
        "",
        ("tests/contracts/test_ora_errors.py",),
    ),
    Guard(
        "the node gets none of the money of bad input",
        _ADAPTER,
        "if (!_isOracleIdle()) return address(0);",
        "",
        ("tests/contracts/test_ora_errors.py",),
    ),
    Guard(
        "what is asked in an answer's callback is not the error's around it",
        _ADAPTER,
        "if (_deliveringFor != address(0) && !_deliveringError) return _deliveringFor;",
        "if (_deliveringFor != address(0)) return _deliveringFor;",
        ("tests/contracts/test_ora_errors.py",),
    ),
    Guard(
        "the money of bad input goes back",
        _ADAPTER,
        "if (msg.value != 0) oracle.deposit{value: msg.value}(ask.refundTo);",
        "",
        ("tests/contracts/test_ora_errors.py", "tests/contracts/test_ora_money.py"),
    ),
    # --- the ledger of nonces, raw bytes first ---
    Guard(
        "a nonce that is in the ledger is not given again",
        _LEDGER,
        "return max(chain_nonce, last + 1)",
        "return chain_nonce",
        ("tests/store", "tests/node/test_submitter.py", *_CRASH),
    ),
    Guard(
        "only a proved request of this payee gets a transaction",
        _LEDGER,
        "row and row.state is RequestState.PROVED and row.payee == self._payee",
        "row",
        ("tests/store", "tests/node", *_CRASH),
    ),
    Guard(
        "a nonce in vain frees its request if no other is on its way, newer or not",
        _SUBMITTER,
        "self._store.live_intent(request_id) is None",
        "not any(i.nonce > intent.nonce for i in self._store.intents_naming(request_id))",
        ("tests/node/test_submitter.py",),
    ),
    Guard(
        "a nonce in vain that leaves the chain takes no answer with it",
        _SUBMITTER,
        "if not self._is_answered_by_another(intent, request_id)",
        "if request_id",
        ("tests/node/test_reorged_answers.py",),
    ),
    Guard(
        "a nonce that others wait for is given to the next that is sent",
        _SUBMITTER,
        "if next_nonce == self._gap and not",
        "if next_nonce is None and not",
        ("tests/node/test_submitter.py",),
    ),
    Guard(
        "a transaction that was given up and mined all the same is followed again",
        _LEDGER,
        "if intent.state is IntentState.DISPLACED:",
        "if not intent.attempts:",
        ("tests/node/test_submitter.py",),
    ),
    Guard(
        "nothing is final in a block that the watcher has not read",
        _SUBMITTER,
        "mined is None or cursor.block < mined",
        "mined is None",
        ("tests/node/test_submitter.py",),
    ),
    Guard(
        "signed bytes are stored before they are sent",
        _SUBMITTER,
        "        attempt = self._sign(nonce, delivery.gas, price, delivery.data)\n",
        "        attempt = self._sign(nonce, delivery.gas, price, delivery.data)\n"
        "        self._rpc.send_raw(attempt.raw)\n",
        _CRASH,
    ),
    Guard(
        "a transaction of unknown outcome is not taken for one that was taken",
        _SUBMITTER,
        '                "transaction sent, outcome unknown",\n'
        "                **request_fields(request_ids),\n"
        "                tx=attempt.hash,\n"
        "                code=error.code,\n"
        "                detail=error.message,\n"
        "            )\n"
        "            return\n",
        '                "transaction sent, outcome unknown",\n'
        "                **request_fields(request_ids),\n"
        "                tx=attempt.hash,\n"
        "                code=error.code,\n"
        "                detail=error.message,\n"
        "            )\n",
        ("tests/node/test_submitter.py", *_CRASH),
    ),
    Guard(
        "a receipt of a dropped block says nothing",
        _SUBMITTER,
        "if block is not None and block.hash == receipt.block_hash:",
        "if block is not None:",
        ("tests/node",),
    ),
    Guard(
        "who lost a duty writes nothing under it",
        _LEDGER,
        "if duty is not None and self._holder(duty) != self._node_id:",
        "if duty is not None and self._holder(duty) is None:",
        ("tests/store", "tests/node/test_fleet.py"),
    ),
    # --- deadlines by the chain's time ---
    Guard(
        "a clock of this machine's makes no request too late",
        _LEDGER,
        "chain_time = cursor.block_timestamp if cursor else 0",
        "chain_time = self._clock()",
        _CLOCK,
    ),
    Guard(
        "a proof that is being made is given up for a block with its confirmations only",
        _LEDGER,
        "chain_time = cursor.block_timestamp if cursor else 0",
        "chain_time = self._chain_time()",
        _CLOCK,
    ),
    Guard(
        "a clock of this machine's gives no answer on its way up",
        _SUBMITTER,
        "return cursor is not None and cursor.has_passed(row.request.deadline)",
        "return row.request.deadline < self._clock()",
        _CLOCK,
    ),
    # --- the cursor and its requests ---
    Guard(
        "the cursor does not move before the requests that were read",
        _WATCHER,
        "        with self._store.transaction(DUTY):\n            for event in events:\n",
        "        and_then()\n"
        "        with self._store.transaction(DUTY):\n            for event in events:\n",
        _CRASH,
    ),
    Guard(
        "a block whose parent is another one rewinds",
        _WATCHER,
        "if known is not None and headers[0].parent_hash != known:",
        "if known is not None and not headers[0].parent_hash:",
        ("tests/node/test_watcher.py",),
    ),
    Guard(
        "a head that moved while logs were read is read again",
        _WATCHER,
        "if again is None or again.hash != final.hash:",
        "if again is None:",
        ("tests/node/test_watcher.py", "tests/node/test_liars.py"),
    ),
    # --- what is revealed, and the model as it is rewritten ---
    Guard(
        "of equal scores the first is the greater",
        _REVEAL,
        'beaten = end.add("Less", end.take(scores, first), end.take(scores, second))',
        'beaten = end.add("LessOrEqual", end.take(scores, first), end.take(scores, second))',
        ("tests/circuits/test_reveal.py",),
    ),
    Guard(
        "a score at the threshold is above it",
        _REVEAL,
        'below = end.add("Less", scores, end.number(reveal.parameter))',
        'below = end.add("LessOrEqual", scores, end.number(reveal.parameter))',
        ("tests/circuits/test_reveal.py",),
    ),
    Guard(
        "a rewriting that changes the answers is refused",
        "oracle/circuits/onnx.py",
        "if misses.size and misses.max() > _TOLERANCE:",
        "if misses.size and misses.max() > np.inf:",
        ("tests/circuits/test_onnx.py",),
    ),
    Guard(
        "a branch at its own threshold goes where ONNX says",
        "oracle/circuits/lowering/trees.py",
        '"BRANCH_LEQ": "LessOrEqual",',
        '"BRANCH_LEQ": "Less",',
        ("tests/circuits/test_lowering_ml.py",),
    ),
    Guard(
        "the first of equal numbers is the greatest",
        "oracle/circuits/lowering/greatest.py",
        'above = graph.add("Greater", second[0], first[0])',
        'above = graph.add("GreaterOrEqual", second[0], first[0])',
        ("tests/circuits/test_lowering_greatest.py",),
    ),
    Guard(
        "a comparison of an input with a constant is exact on the grid",
        "oracle/circuits/thresholds.py",
        "moved = last + (1 if strict == below else 0)",
        "moved = last + (1 if strict else 0)",
        ("tests/circuits/test_thresholds.py",),
    ),
    Guard(
        "what breaks the bound in an attack is handed back",
        "oracle/circuits/attack.py",
        "broken = np.flatnonzero(~(self._errors <= self._bound * self._share))",
        "broken = np.flatnonzero(self._errors == np.inf)",
        ("tests/circuits/test_attack.py",),
    ),
    Guard(
        "rows beside a jump are just beyond its margin",
        "oracle/circuits/boundary.py",
        "first[side], second[~side] = middle[side], middle[~side]",
        "first[~side], second[side] = middle[~side], middle[side]",
        ("tests/circuits/test_boundary.py",),
    ),
    Guard(
        "scores that a policy hides are followed to where the answer changes",
        "oracle/circuits/compared.py",
        "won = sign * gaps[order, contest] > 0",
        "won = sign * off[order, contest] > 0",
        ("tests/circuits/test_compared.py",),
    ),
    Guard(
        "a row that cannot be proved breaks a promise",
        "oracle/circuits/attack.py",
        "errors = np.full(len(rows), np.inf)",
        "errors = np.zeros(len(rows))",
        ("tests/circuits/test_attack.py",),
    ),
    Guard(
        "no promise where the float model has no number",
        "oracle/circuits/promise.py",
        "return bool(finite(_rows(promise, samples, whole)).all())",
        "return bool(finite(_rows(promise, samples, whole)).any())",
        ("tests/circuits/test_promise.py",),
    ),
)


def main() -> None:
    """Check all guards, or those whose names hold a word."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("word", nargs="?", default="", help="only guards whose names hold it")
    options = parser.parse_args()
    _require_no_changes()
    found = []
    for guard in GUARDS:
        if options.word in guard.name:
            result = _check(guard)
            print(f"{result['outcome']:6} {result['seconds']:6} s  {guard.name}", flush=True)
            found.append(result)
    target = build_dir() / "bench" / "guards.json"
    red = sum(result["outcome"] == "red" for result in found)
    write(target, {"guards": len(found), "red": red, "results": found})
    rows = [[result["name"], result["outcome"], result["failed"]] for result in found]
    print("\n" + table(["without the guard that", "tests are", "the first that fails"], rows))
    print(f"\n{red} of {len(found)} red; written to {target}")
    sys.exit(red != len(found))


def _require_no_changes() -> None:
    paths = sorted({guard.path for guard in GUARDS})
    command = ["git", "diff", "--name-only", "HEAD", "--", *paths]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True, check=True)
    if done.stdout:
        sys.exit(f"commit these first, they are changed for a while:\n{done.stdout}")


def _check(guard: Guard) -> dict[str, Any]:
    started = time.monotonic()
    with _without(guard):
        command = ["pytest", "-q", "-x", "-n", "auto", "--dist", "loadgroup", *guard.tests]
        done = subprocess.run(
            command, cwd=project_root(), capture_output=True, text=True, check=False
        )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode == 0:
        outcome = "green"
    elif failed and not any(name in done.stdout for name in _NO_CODE):
        outcome = "red"
    else:
        # No test was run, or the code itself does not run: no answer.
        outcome = "broken"
    return {
        "name": guard.name,
        "path": guard.path,
        "outcome": outcome,
        "failed": failed[0].partition(" - ")[0] if failed else "",
        "seconds": round(time.monotonic() - started, 1),
    }


@contextmanager
def _without(guard: Guard) -> Iterator[None]:
    path = project_root() / guard.path
    text = path.read_text()
    if text.count(guard.text) != 1:
        sys.exit(f"{guard.path} does not hold this once: {guard.text}")
    path.write_text(text.replace(guard.text, guard.without))
    try:
        yield
    finally:
        path.write_text(text)


if __name__ == "__main__":
    main()
