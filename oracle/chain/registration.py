"""A model's registration: the spec as the registry's ``Model`` struct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oracle.errors import UsageError
from oracle.types import (
    ZERO_ADDRESS,
    BatchVerifier,
    InputKind,
    ModelSpec,
    ProofSystem,
    TensorSpec,
)


def registration(
    spec: ModelSpec,
    *,
    verifiers: Sequence[str],
    fee: int,
    receiver: str,
    receiver_bps: int,
    token: str = ZERO_ADDRESS,
    input_checker: str = ZERO_ADDRESS,
) -> dict[str, Any]:
    """The argument of ``ModelRegistry.register``, of Halo2-KZG circuits of values.

    Args:
        spec: what was built.
        verifiers: addresses of the deployed verifiers, the one for a single row first, then those
            of ``spec.batches``.
        fee: price of one inference in ``token``, gas money not included.
        receiver: who gets the publisher's share.
        receiver_bps: that share in basis points.
        token: currency of the fee; the zero address is ETH.
        input_checker: address of the deployed `InputRanges` of ``spec.input_ranges``; the zero
            address where these are empty.

    Raises:
        UsageError: not one verifier for each circuit, or no checker for input ranges.
    """
    circuits = circuits_of(spec)
    if len(circuits) != len(verifiers):
        raise UsageError(
            f"{len(verifiers)} verifiers for {len(circuits)} circuits",
            remedy="Deploy one verifier for each batch size",
        )
    if bool(spec.input_ranges) != (input_checker != ZERO_ADDRESS):
        raise UsageError(
            "a model has an input checker if, and only if, its input elements have ranges",
            remedy="Deploy the checker of the model's input ranges",
        )
    return {
        "onnxHash": spec.onnx_hash,
        "codec": int(spec.codec),
        "tagLimbs": spec.tag.limbs,
        "tagBits": spec.tag.bits,
        "inputKind": int(InputKind.VALUES),
        "input": _tensor(spec.input),
        "output": _tensor(spec.output),
        "inputChecker": input_checker,
        "token": token,
        "fee": fee,
        "receiver": receiver,
        "receiverBps": receiver_bps,
        # Of no ceremony of its own: its circuits share a universal one.
        "transcriptHash": bytes(32),
        "contributors": 0,
        # Tuples in the struct's order: Ape encodes no mappings inside a list.
        "verifiers": [
            (
                verifier,
                circuit.verifier_code_hash,
                circuit.verify_gas,
                circuit.size,
                int(ProofSystem.HALO2_KZG),
                circuit.settings_hash,
                circuit.vk_hash,
                circuit.srs_hash,
            )
            for circuit, verifier in zip(circuits, verifiers, strict=True)
        ],
    }


def circuits_of(spec: ModelSpec) -> tuple[BatchVerifier, ...]:
    """The model's circuits, the one for a single row first."""
    single = BatchVerifier(
        size=1,
        settings_hash=spec.settings_hash,
        vk_hash=spec.vk_hash,
        srs_hash=spec.srs_hash,
        verifier_code_hash=spec.verifier_code_hash,
        verify_gas=spec.verify_gas,
    )
    return (single, *spec.batches)


def _tensor(tensor: TensorSpec) -> dict[str, int]:
    return {
        "elements": tensor.length,
        "width": tensor.width,
        "scale": tensor.scale,
        "minimum": tensor.minimum,
        "maximum": tensor.maximum,
    }
