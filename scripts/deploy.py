"""``oracle deploy`` for accounts and networks that Ape manages.

    ape run deploy --network ethereum:local:foundry
    ape run deploy --network ethereum:sepolia:node --account NAME --bundle build/bundles/iris

Writes ``deployments/<chain id>.json``; sends nothing where that is true already.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ape
import click
from ape.cli import ConnectedProviderCommand

from oracle.chain.deployments import deployment_path
from oracle.chain.rpc import Rpc
from oracle.chain.signer import Signed, Unsigned
from oracle.circuits.bundle import Bundle
from oracle.deployer import deploy, deploy_model


class ApeSigner:
    """An account of Ape's as an `oracle.chain.signer.Signer`."""

    def __init__(self, account: Any) -> None:
        self._account = account

    @property
    def address(self) -> str:
        """The account, as a checksum address."""
        return str(self._account.address)

    def sign(self, transaction: Unsigned) -> Signed:
        """Sign; Ape may ask for a passphrase."""
        fields = {
            "type": 2,
            "chainId": transaction.chain_id,
            "nonce": transaction.nonce,
            "to": transaction.to,
            "value": transaction.value,
            "data": transaction.data,
            "gas": transaction.gas,
            "max_fee": transaction.fees.max_fee,
            "max_priority_fee": transaction.fees.priority_fee,
        }
        unsigned = ape.networks.provider.network.ecosystem.create_transaction(**fields)
        signed = self._account.sign_transaction(unsigned)
        return Signed(raw=bytes(signed.serialize_transaction()), hash=bytes(signed.txn_hash))


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
    provider = ape.networks.provider
    model = Bundle.load(bundle) if bundle else None
    if model:
        model.require_safe(provider.chain_id)
    signer = ApeSigner(ape.accounts.load(account) if account else ape.accounts.test_accounts[0])
    rpc = Rpc([str(provider.http_uri)], provider.chain_id)
    found, is_new = deploy(rpc, signer, owner=owner, progress=click.echo)
    if model:
        how: dict[str, Any] = {"fee": fee, "receiver_bps": receiver_bps, "progress": click.echo}
        registered = deploy_model(rpc, signer, model, **how)
        click.echo(f"model {registered.model_id}: {registered.name}")
    state = "recorded" if is_new else "nothing sent; as recorded"
    where = deployment_path(provider.chain_id)
    click.echo(f"oracle {found.oracle}, registry {found.registry}; {state} in {where}")
