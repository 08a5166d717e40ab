"""A model's registration: the spec as the registry's ``Model`` struct."""

from __future__ import annotations

from typing import Any

from oracle.types import ModelSpec, TensorSpec


def registration(
    spec: ModelSpec, *, verifier: str, fee: int, receiver: str, receiver_bps: int
) -> dict[str, Any]:
    """The argument of ``ModelRegistry.register``.

    Args:
        spec: what was built.
        verifier: address of the deployed verifier.
        fee: wei per inference, gas money not included.
        receiver: who gets the publisher's share.
        receiver_bps: that share in basis points.
    """
    return {
        "onnxHash": spec.onnx_hash,
        "settingsHash": spec.settings_hash,
        "vkHash": spec.vk_hash,
        "srsHash": spec.srs_hash,
        "verifierCodeHash": spec.verifier_code_hash,
        "verifier": verifier,
        "verifyGas": spec.verify_gas,
        "codec": int(spec.codec),
        "tagLimbs": spec.tag.limbs,
        "tagBits": spec.tag.bits,
        "input": _tensor(spec.input),
        "output": _tensor(spec.output),
        "fee": fee,
        "receiver": receiver,
        "receiverBps": receiver_bps,
    }


def _tensor(tensor: TensorSpec) -> dict[str, int]:
    return {
        "length": tensor.length,
        "width": tensor.width,
        "scale": tensor.scale,
        "minimum": tensor.minimum,
        "maximum": tensor.maximum,
    }
