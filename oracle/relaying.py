"""Whether a signed request can be submitted: what is certain of it, and what the contract says.

Whoever relays pays for the gas and gets the tip, so nothing is sent that the contract would refuse.
"""

from __future__ import annotations

from eth_account import Account
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from oracle.chain.rpc import Rpc
from oracle.chain.signed_requests import Envelope, message
from oracle.errors import (
    ContractMismatch,
    CostAboveMaximum,
    CreditTooSmall,
    NonceUsed,
    OracleError,
    SignatureExpired,
    SignatureInvalid,
    SignedRequestMalformed,
    TipTooSmall,
    TransactionReverted,
    WrongChain,
)
from oracle.types import ZERO_ADDRESS

#: Of an account's own signature.
_SIGNATURE_BYTES = 65
#: What the contract calls its refusals, and what they are here; others are told as it words them.
_REFUSALS: dict[str, tuple[type[OracleError], str]] = {
    "InvalidSignature": (SignatureInvalid, "Have the account sign this very request"),
    "SignatureExpired": (SignatureExpired, "Have it signed anew"),
    "NonceUsed": (NonceUsed, "Have it signed anew, with another nonce"),
    "CostAboveMaximum": (CostAboveMaximum, "Wait for a lower base fee, or have more signed"),
}


def check(rpc: Rpc, oracle: str, signed: Envelope, least_tip: int = 0) -> None:
    """Look at a signed request before anybody is asked to run it.

    Args:
        rpc: endpoints of the chain.
        oracle: where it is to be submitted.
        signed: whoever made it.
        least_tip: wei that it has to pay its relayer.

    Raises:
        WrongChain: it is good on another chain.
        ContractMismatch: it is good at another oracle.
        SignedRequestMalformed: it was signed for other bytes.
        SignatureExpired: too late.
        SignatureInvalid: an account without code did not sign this.
        TipTooSmall: it pays less.
    """
    request = signed.request
    if signed.chain_id != rpc.chain_id:
        raise WrongChain(
            f"the request was signed for chain {signed.chain_id}, this is {rpc.chain_id}",
            remedy="Name an endpoint of that chain with --rpc",
        )
    if signed.oracle != oracle:
        raise ContractMismatch(
            f"the request was signed for the oracle at {signed.oracle}, this is {oracle}",
            remedy="If you trust that one, name it with --oracle",
        )
    for name, data, expected in (
        ("input", signed.input, request.input_hash),
        ("callbackData", signed.callback_data, request.callback_data_hash),
    ):
        if keccak(data) != expected:
            raise SignedRequestMalformed(
                f"the {name} is not what was signed: its hash is another",
                remedy="Send the bytes that the hash was made of",
            )
    now = rpc.head().timestamp
    if now > request.valid_until:
        raise SignatureExpired(
            f"the request could be submitted until {request.valid_until}, now it is {now}",
            remedy="Have it signed anew",
        )
    if request.relayer_tip < least_tip:
        raise TipTooSmall(
            f"the tip is {request.relayer_tip} wei, less than {least_tip}",
            remedy="Ask for less with --min-tip, or have more signed",
        )
    # A contract's own code says what it takes for its signature: the simulation asks it.
    if not rpc.code(request.account) and _signer(signed) != request.account:
        raise SignatureInvalid(
            f"this is no signature of {request.account} for this request",
            remedy="Have the account sign this very request, for this chain and this oracle",
        )


def refusal(error: TransactionReverted, signed: Envelope, token: str) -> OracleError:
    """Why the contract does not take a signed request, as an error of the tree.

    Args:
        error: what it said.
        signed: what it was given.
        token: currency of the model's fee.
    """
    account = signed.request.account
    if error.name == "InsufficientCredit":
        said = f"the credit of {account} does not pay for the request ({error.message})"
        if token == ZERO_ADDRESS:
            return CreditTooSmall(said, remedy="Add to it").ending_in(
                f"oracle deposit --wei WEI --account {account} --key-file KEY"
            )
        return CreditTooSmall(
            said,
            remedy=f"Add to it in ETH by the contract's deposit, in {token} by its depositToken",
        )
    kind, remedy = _REFUSALS.get(error.name, (None, ""))
    return error if kind is None else kind(error.message, remedy=remedy)


def _signer(signed: Envelope) -> str:
    """Whose signature it is; nobody's if it is none."""
    text = message(signed.chain_id, signed.oracle, signed.request)
    if len(signed.signature) != _SIGNATURE_BYTES:
        return ZERO_ADDRESS
    try:
        return str(Account.recover_message(text, signature=signed.signature))
    except (BadSignature, ValidationError, ValueError):
        return ZERO_ADDRESS
