"""Deploy registry and oracle, and a bundle's model if one is given.

    ape run deploy --network ethereum:local:foundry
    ape run deploy --network ethereum:sepolia:node --account NAME --bundle build/bundles/iris

Writes ``deployments/<chain id>.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ape
import click
from ape.cli import ConnectedProviderCommand
from ape.contracts import ContractContainer
from ape.types import ContractType

from oracle.chain.deployments import DeployedModel, Deployment, save
from oracle.chain.registration import registration
from oracle.chain.toolchain import SOLC_CONTRACTS
from oracle.circuits.bundle import Bundle, SizedCircuit


@click.command(cls=ConnectedProviderCommand)
@click.option("--account", help="Alias of the deploying account; a test account if left out.")
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--fee", type=click.IntRange(min=0), default=0, help="Wei for one inference.")
@click.option(
    "--receiver-bps",
    type=click.IntRange(0, 10_000),
    default=0,
    help="The deploying account's share of the fee in basis points; provers get the rest.",
)
@click.option("--owner", help="May pause new requests; the deploying account if left out.")
def cli(
    account: str | None, bundle: Path | None, fee: int, receiver_bps: int, owner: str | None
) -> None:
    """Deploy the contracts and record where they are."""
    model = Bundle.load(bundle) if bundle else None
    # Ape's cache has been seen to miss a change; what is deployed must be what is in the sources.
    ape.project.load_contracts(use_cache=False)
    sender = ape.accounts.load(account) if account else ape.accounts.test_accounts[0]
    provider = ape.networks.provider
    if model:
        model.require_safe(provider.chain_id)
    head = provider.get_block("latest").number
    registry = sender.deploy(ape.project.ModelRegistry)
    oracle = sender.deploy(ape.project.InferenceOracle, registry, owner or sender.address)
    models = (_register(sender, registry, model, fee, receiver_bps),) if model else ()
    path = save(
        Deployment(
            chain_id=provider.chain_id,
            oracle=str(oracle.address),
            registry=str(registry.address),
            block=head + 1,
            models=models,
            versions={"solc_contracts": SOLC_CONTRACTS, **(model.versions if model else {})},
        )
    )
    click.echo(f"oracle {oracle.address}, registry {registry.address}; recorded in {path}")


def _register(
    sender: Any, registry: Any, bundle: Bundle, fee: int, receiver_bps: int
) -> DeployedModel:
    """Deploy the bundle's verifiers and register its model."""
    verifiers = [_deploy_verifier(sender, sized) for sized in bundle.circuits]
    receipt = registry.register(
        registration(
            bundle.spec,
            verifiers=verifiers,
            fee=fee,
            receiver=str(sender.address),
            receiver_bps=receiver_bps,
        ),
        sender=sender,
    )
    (registered,) = receipt.events.filter(registry.ModelRegistered)
    return DeployedModel(
        model_id=registered.modelId,
        name=bundle.name,
        verifier=verifiers[0],
        code_hash="0x" + bundle.spec.verifier_code_hash.hex(),
        bundle=bundle.bundle_id,
    )


def _deploy_verifier(sender: Any, sized: SizedCircuit) -> str:
    verifier = sender.deploy(
        ContractContainer(
            ContractType.model_validate(
                {
                    "contractName": "Verifier",
                    "abi": sized.verifier_abi,
                    "deploymentBytecode": {"bytecode": "0x" + sized.verifier_bytecode.hex()},
                }
            )
        )
    )
    return str(verifier.address)
