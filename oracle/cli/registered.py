"""``oracle model show``: what the chain's registry says of a model."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import typer

from oracle.chain.contracts import OracleContract, RegistryContract
from oracle.chain.input_ranges import is_foreign_checker
from oracle.chain.registration import circuits_of
from oracle.cli.chain import LOCAL, Chain, ChainId, Oracle, Url, chain_of
from oracle.cli.options import Json
from oracle.cli.progress import waiting
from oracle.errors import UsageError
from oracle.tensor import dequantize
from oracle.types import ZERO_ADDRESS, InputKind, RegisteredModel, TensorSpec, Trust


def registry_of(chain: Chain) -> RegistryContract:
    """The registry of a chain's oracle. Errors as `OracleContract.registry`."""
    return RegistryContract(chain.rpc, OracleContract(chain.rpc, chain.oracle).registry())


def show(
    model_id: Annotated[int, typer.Argument(help="The model's id.", metavar="MODEL", min=1)],
    rpc: Url = LOCAL,
    chain_id: ChainId = None,
    oracle: Oracle = None,
    as_json: Json = False,
) -> None:
    """Print a registered model: shapes as Solidity has them, codec, fee, verifiers, trust."""
    chain = chain_of(rpc, chain_id, oracle)
    with waiting("Reading the registry"):
        registry = registry_of(chain)
        found = registry.model(model_id)
        if found is None:
            raise UsageError(
                f"there is no model {model_id}",
                remedy=f"Choose an id from 1 to {registry.count()}",
            )
        said = _values(found, registry)
    typer.echo(json.dumps(said) if as_json else _text(found, said))


def _values(model: RegisteredModel, registry: RegistryContract) -> dict[str, Any]:
    spec, trust = model.spec, registry.trust(model.model_id)
    return {
        "model_id": model.model_id,
        "registry": registry.address,
        "is_open": model.is_open,
        "successor": registry.successor(model.model_id),
        "input_kind": model.input_kind.name.lower(),
        "input": dataclasses.asdict(spec.input),
        "output": dataclasses.asdict(spec.output),
        "input_ranges": [list(bounds) for bounds in spec.input_ranges],
        "input_checker": None if model.input_checker == ZERO_ADDRESS else model.input_checker,
        "codec": spec.codec.name.lower(),
        "fee": model.fee,
        "token": None if model.token == ZERO_ADDRESS else model.token,
        "receiver": model.receiver,
        "receiver_bps": model.receiver_bps,
        "onnx_hash": "0x" + spec.onnx_hash.hex(),
        "verifiers": [
            {
                "rows": circuit.size,
                "address": address,
                "code_hash": "0x" + circuit.verifier_code_hash.hex(),
                "verify_gas": circuit.verify_gas,
                "system": system.name.lower(),
                "artifact_hash": "0x" + circuit.settings_hash.hex(),
                "vk_hash": "0x" + circuit.vk_hash.hex(),
                "setup_hash": "0x" + circuit.srs_hash.hex(),
            }
            for circuit, address, system in zip(
                circuits_of(spec),
                (model.verifier, *model.batch_verifiers),
                model.systems,
                strict=True,
            )
        ],
        "trust": {
            "kind": trust.kind.name.lower(),
            "transcript_hash": "0x" + trust.transcript_hash.hex(),
            "contributors": trust.contributors,
        },
    }


def _text(model: RegisteredModel, said: dict[str, Any]) -> str:
    spec = model.spec
    after = f"; its successor is model {said['successor']}" if said["successor"] else ""
    currency = "wei" if said["token"] is None else f"of token {model.token}"
    lines = [
        f"model     {model.model_id}, {'open' if model.is_open else 'closed'}{after}",
        f"input     {_literal(spec.input)}  {_input(model)}",
        f"output    {_literal(spec.output)}  {_range(spec.output)}",
        f"codec     {said['codec']}",
        f"fee       {model.fee} {currency}; {model.receiver_bps / 100:g}% to {model.receiver}",
    ]
    if is_foreign_checker(model):
        lines.append(f"ranges    checked by a contract that is not known: {model.input_checker}")
    elif spec.input_ranges:
        lines.append(f"ranges    each element has its own, held by {model.input_checker}")
        lines += [
            f"          {index}: {low} to {high} ({dequantize(low, spec.input.scale):g} to "
            f"{dequantize(high, spec.input.scale):g})"
            for index, (low, high) in enumerate(spec.input_ranges)
        ]
    lines += [
        f"verifier  {each['address']} for {each['rows']} row{'s' if each['rows'] > 1 else ''}, "
        f"{each['verify_gas']} gas, {each['system']}, code {each['code_hash']}"
        for each in said["verifiers"]
    ]
    lines.append(f"trust     {_trust(said['trust'])}")
    return "\n".join(lines)


def _trust(said: dict[str, Any]) -> str:
    """Who could forge an answer, by what is registered."""
    match Trust[said["kind"].upper()]:
        case Trust.ONE_PARTY:
            return "none: whoever made its set-up can forge answers (local chains only)"
        case Trust.CEREMONY:
            return (
                f"a ceremony of its own, {said['contributors']} contributors by its publisher's word; "
                f"check its transcript, SHA-256 {said['transcript_hash']}"
            )
        case Trust.UNIVERSAL_CEREMONY:
            return "the SRS is the ceremony's; oracle model audit rebuilds the rest"
        case Trust.TRANSPARENT:
            return "its proof system has no set-up that anybody could forge with"


def _literal(spec: TensorSpec) -> str:
    """As `MockInferenceOracle.addModel` takes it."""
    fields = (spec.length, spec.width, spec.scale, spec.minimum, spec.maximum)
    return f"IModelRegistry.Tensor({', '.join(map(str, fields))})"


def _input(model: RegisteredModel) -> str:
    if model.input_kind is InputKind.COMMITMENT:
        length = model.spec.input.length
        return f"a commitment to its input, {length} field element{'s' if length > 1 else ''}"
    return _range(model.spec.input)


def _range(spec: TensorSpec) -> str:
    low, high = (dequantize(bound, spec.scale) for bound in (spec.minimum, spec.maximum))
    return f"{spec.length} numbers from {low:g} to {high:g}"
