"""Whether a chain can carry the contracts, found out before anything is sent to it.

A contract is deployed by what its constructor runs, not by what its functions will need: on a chain
of an older fork all would go well until a request is to be answered or refunded, and neither could.
"""

from __future__ import annotations

from dataclasses import dataclass

from oracle.chain.rpc import Rpc
from oracle.errors import ChainUnsuited, RpcRejected

#: The fork that `oracle.chain.artifacts.EVM_VERSION` compiles for, as people know it.
FORK = "Cancun"
_ONE = (1).to_bytes(32, "big")
_PAIRING = "0x0000000000000000000000000000000000000008"


@dataclass(frozen=True, slots=True)
class _Probe:
    """Code that returns 1 where the chain has what it is named for."""

    name: str
    code: str


_RETURN = "60206000f3"
_PROBES = (
    _Probe("PUSH0", "60015f5260205ff3"),
    # Copied from memory 0 to 32, and returned from there.
    _Probe("MCOPY", "6001600052602060006020" + "5e" + "60206020f3"),
    _Probe("transient storage (TSTORE, TLOAD)", "600160005d60005c600052" + _RETURN),
    _Probe("BASEFEE", "4850" + "6001600052" + _RETURN),
)


def require(rpc: Rpc) -> str:
    """That the chain has the instructions and precompiles which the contracts and verifiers use.

    Returns:
        what was found, for a person.

    Raises:
        ChainUnsuited: it lacks some.
        ChainError: no endpoint could tell.
    """
    missing = [probe.name for probe in _PROBES if not _has(rpc, None, bytes.fromhex(probe.code))]
    # Of no pairs it is 1; an address without code returns nothing.
    if not _has(rpc, _PAIRING, b""):
        missing.append("the pairing of BN254 (precompile 8)")
    if missing:
        raise ChainUnsuited(
            f"chain {rpc.chain_id} lacks {', '.join(missing)}: an answer could not be delivered, nor "
            "a request refunded",
            remedy=f"Use a chain of the {FORK} fork or later",
        )
    return f"chain {rpc.chain_id} runs what {FORK} has"


def _has(rpc: Rpc, to: str | None, data: bytes) -> bool:
    try:
        return rpc.call(to, data, read=lambda result: result) == _ONE
    except RpcRejected as error:
        if not error.executed:
            raise
        # An invalid instruction.
        return False
