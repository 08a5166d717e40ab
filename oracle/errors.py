"""One tree for everything that can go wrong, each leaf with a stable code.

    OracleError                      exit code 1
    |-- UsageError                   2  the caller's input is wrong; nothing was spent
    |   |-- ConfigError
    |   |-- ModelError                  the ONNX file: malformed, unsupported
    |   |-- TensorError                 length, range or encoding of values
    |   |-- SignedRequestError          what somebody signed: malformed, expired, not theirs, too dear
    |   |-- RequestUnknown, RequestBusy what is asked of the queue, or of an earlier request
    |-- ToolchainError               3  something this machine lacks
    |-- CircuitError                 4  building or checking a circuit
    |-- ProverError                  5  one proof went wrong (says whether a retry can help)
    |-- ChainError                   6  RPC endpoints, accounts, transactions
    |-- StoreError                   7  the node's database

A leaf class docstring is its default message. ``code`` never changes once released: log lines,
alerts and exit paths match on it.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Self

#: Control characters but for the ends of lines and tabs, and what has text read backwards: an
#: endpoint's words would steer the terminal that shows them.
_UNSHOWN = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _shown(text: str) -> str:
    return _UNSHOWN.sub("\ufffd", text)


class OracleError(Exception):
    """The operation failed."""

    code: ClassVar[str] = "ORACLE"
    exit_code: ClassVar[int] = 1
    #: True when the same call may succeed later without anything being changed.
    transient: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, remedy: str | None = None) -> None:
        self.message = _shown(message or (type(self).__doc__ or "").strip().splitlines()[0])
        self._advice = remedy and _shown(remedy)
        #: What the remedy ends in, to be typed. Whoever knows where adds the options that say so.
        self.command = ""
        super().__init__(self.message)

    @property
    def remedy(self) -> str | None:
        """What to do."""
        return f"{self._advice}: {self.command}" if self.command else self._advice

    def ending_in(self, command: str) -> Self:
        """The same error, its remedy ending in a command."""
        self.command = command
        return self

    def line(self) -> str:
        """Code, what happened and what to do, in one line for a person."""
        text = " ".join(self.message.split()).rstrip(".")
        remedy = f" {' '.join(self.remedy.split()).rstrip('.')}." if self.remedy else ""
        return f"{self.code}: {text}.{remedy}"


class UsageError(OracleError):
    """The input is not valid."""

    code = "USAGE"
    exit_code = 2


class ConfigError(UsageError):
    """The configuration is not valid."""

    code = "CONFIG"


class ModelError(UsageError):
    """The model cannot be used."""

    code = "MODEL"


class ModelMalformed(ModelError):
    """The file is not a valid ONNX model."""

    code = "MODEL_MALFORMED"


class ModelUnsupported(ModelError):
    """The model uses something that cannot be proved."""

    code = "MODEL_UNSUPPORTED"


class TensorError(UsageError):
    """The values do not fit the model."""

    code = "TENSOR"


class TensorLength(TensorError):
    """The number of values is not the model's."""

    code = "TENSOR_LENGTH"


class TensorRange(TensorError):
    """A value lies outside the range that the circuit accepts."""

    code = "TENSOR_RANGE"

    def __init__(
        self, message: str | None = None, *, remedy: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        #: Which of a row's values, where one is at fault.
        self.index = index


class TensorEncoding(TensorError):
    """The bytes are not a valid encoding."""

    code = "TENSOR_ENCODING"


class SignedRequestError(UsageError):
    """The signed request cannot be submitted."""

    code = "SIGNED_REQUEST"


class SignedRequestMalformed(SignedRequestError):
    """The text is no signed request."""

    code = "SIGNED_REQUEST_MALFORMED"


class SignatureInvalid(SignedRequestError):
    """The signature is not the account's for this request, chain and oracle."""

    code = "SIGNATURE_INVALID"


class SignatureExpired(SignedRequestError):
    """The signed request may not be submitted any more."""

    code = "SIGNATURE_EXPIRED"


class NonceUsed(SignedRequestError):
    """The account has used or cancelled the nonce of the signed request."""

    code = "NONCE_USED"


class CostAboveMaximum(SignedRequestError):
    """The signed request costs more than its account allows."""

    code = "COST_ABOVE_MAXIMUM"


class CreditTooSmall(SignedRequestError):
    """The account's credit does not pay for the signed request."""

    code = "CREDIT_TOO_SMALL"


class TipTooSmall(SignedRequestError):
    """The signed request pays its relayer less than was asked for."""

    code = "TIP_TOO_SMALL"


class RequestUnknown(UsageError):
    """The chain, or the store, has no such request."""

    code = "REQUEST_UNKNOWN"


class RequestBusy(UsageError):
    """The request stands where this cannot be done."""

    code = "REQUEST_BUSY"


class ToolchainError(OracleError):
    """A tool that is needed is missing."""

    code = "TOOLCHAIN"
    exit_code = 3


class CircuitError(OracleError):
    """The circuit could not be built."""

    code = "CIRCUIT"
    exit_code = 4


class CircuitInaccurate(CircuitError):
    """No circuit met the error bound."""

    code = "CIRCUIT_INACCURATE"


class RangeTooWide(CircuitError):
    """No circuit takes every input in the promised range."""

    code = "RANGE_TOO_WIDE"


class VerifierTooLarge(CircuitError):
    """The verifier contract is over the 24,576-byte limit (EIP-170)."""

    code = "VERIFIER_TOO_LARGE"


class CircuitTooLarge(CircuitError):
    """The circuit needs more than this machine has."""

    code = "CIRCUIT_TOO_LARGE"


class SrsMismatch(CircuitError):
    """The SRS file is not the one that is expected."""

    code = "SRS_MISMATCH"


class SrsUnavailable(CircuitError):
    """The SRS file could not be downloaded."""

    code = "SRS_UNAVAILABLE"
    transient = True


class SrsUnsafe(CircuitError):
    """The bundle's proofs can be forged by whoever made its SRS."""

    code = "SRS_UNSAFE"


class BundleInvalid(CircuitError):
    """The bundle's files do not match its manifest."""

    code = "BUNDLE_INVALID"


class AuditFailed(CircuitError):
    """The bundle is not what its sources make, or not what the chain has."""

    code = "AUDIT_FAILED"


class SolidityRejected(CircuitError):
    """The Solidity compiler rejected the source."""

    code = "SOLIDITY_REJECTED"


class ProverError(OracleError):
    """The proof failed."""

    code = "PROVER"
    exit_code = 5


class ProverInput(ProverError):
    """The prover rejected the input."""

    code = "PROVER_INPUT"


class ProverTimeout(ProverError):
    """The proof did not finish in time."""

    code = "PROVER_TIMEOUT"
    transient = True


class ProverMemory(ProverError):
    """The proof ran out of memory."""

    code = "PROVER_MEMORY"
    transient = True


class ProverUnavailable(ProverError):
    """This machine could not start the prover."""

    code = "PROVER_UNAVAILABLE"
    transient = True


class ProverCrashed(ProverError):
    """The prover process died."""

    code = "PROVER_CRASHED"
    transient = True


class ProofInvalid(ProverError):
    """The proof did not verify locally, so it was not sent."""

    code = "PROOF_INVALID"


class ChainError(OracleError):
    """The chain refused or did not answer."""

    code = "CHAIN"
    exit_code = 6


class RpcUnreachable(ChainError):
    """No RPC endpoint answered."""

    code = "RPC_UNREACHABLE"
    transient = True


class RpcThrottled(RpcUnreachable):
    """The RPC endpoint wants to be asked less often."""

    code = "RPC_THROTTLED"

    def __init__(
        self,
        message: str | None = None,
        *,
        remedy: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        #: Seconds that it asked for; None when it did not say.
        self.retry_after = retry_after


class RpcRejected(ChainError):
    """The RPC endpoint answered with an error."""

    code = "RPC_REJECTED"

    def __init__(
        self,
        message: str | None = None,
        *,
        remedy: str | None = None,
        data: bytes = b"",
        executed: bool = True,
    ) -> None:
        super().__init__(message, remedy=remedy)
        #: Revert data, when the endpoint gave any.
        self.data = data
        #: Whether it is the chain's word: what running the call, or taking the transaction, came
        #: to. An endpoint's own trouble is not, even if every endpoint has it.
        self.executed = executed


class RpcUncertain(RpcRejected):
    """The RPC endpoint answered with an error that says nothing of the chain."""

    code = "RPC_UNCERTAIN"
    transient = True

    def __init__(
        self,
        message: str | None = None,
        *,
        remedy: str | None = None,
        passing: bool = True,
        lacks_method: bool = False,
    ) -> None:
        super().__init__(message, remedy=remedy, executed=False)
        #: Whether it tells of a state that passes, like that of a node that is not synced.
        self.passing = passing
        #: Whether it says that it has no such method at all.
        self.lacks_method = lacks_method


class RpcLimit(RpcRejected):
    """The RPC endpoint limits the size of a query."""

    code = "RPC_LIMIT"
    transient = True

    def __init__(
        self, message: str | None = None, *, remedy: str | None = None, blocks: int | None = None
    ) -> None:
        super().__init__(message, remedy=remedy, executed=False)
        #: How many blocks it takes, when it says so.
        self.blocks = blocks


class WrongChain(ChainError):
    """The RPC endpoint serves another chain."""

    code = "WRONG_CHAIN"


class ContractMismatch(ChainError):
    """The contract at this address is not the one that is expected."""

    code = "CONTRACT_MISMATCH"


class ChainUnsuited(ChainError):
    """The chain cannot carry the contracts."""

    code = "CHAIN_UNSUITED"


class AccountUnfunded(ChainError):
    """The account cannot pay for gas."""

    code = "ACCOUNT_UNFUNDED"


class SignerUnreachable(ChainError):
    """The remote signer did not answer."""

    code = "SIGNER_UNREACHABLE"
    transient = True


class SignerRefused(ChainError):
    """The remote signer did not sign what it was asked to sign."""

    code = "SIGNER_REFUSED"


class TransactionReverted(ChainError):
    """The transaction reverted."""

    code = "TRANSACTION_REVERTED"

    def __init__(
        self,
        message: str | None = None,
        *,
        remedy: str | None = None,
        name: str = "",
        arguments: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(message, remedy=remedy)
        #: Name of the contract's error, empty when it gave none.
        self.name = name
        #: What the contract said with it, as far as its ABI tells.
        self.arguments = arguments


class RequestTimeout(ChainError):
    """The request was not answered in time."""

    code = "REQUEST_TIMEOUT"
    transient = True


class RequestRefunded(ChainError):
    """The request was refunded unanswered."""

    code = "REQUEST_REFUNDED"


class StoreError(OracleError):
    """The node's database cannot be used."""

    code = "STORE"
    exit_code = 7


class StoreLocked(StoreError):
    """Another node uses this database."""

    code = "STORE_LOCKED"


class DutyLost(StoreError):
    """Another node does what this node did."""

    code = "DUTY_LOST"
    transient = True


class StoreMismatch(StoreError):
    """The database belongs to another chain, contract or version."""

    code = "STORE_MISMATCH"


class StoreOutdated(StoreMismatch):
    """An older version of this program wrote the database."""

    code = "STORE_OUTDATED"


class StoreMissing(StoreError):
    """No node has made the database yet."""

    code = "STORE_MISSING"
