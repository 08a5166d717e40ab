"""What final transactions cost and brought, by day, model and result.

Counted in the transaction that makes them final, so nothing is missed or counted twice; kept when the
requests are forgotten. Exact: wei are summed in whole gwei and the rest, which fit 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from oracle.store.database import Database
from oracle.store.records import Settled

_GWEI = 10**9
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Earned:
    """A day's transactions of one model that ended alike. Money in wei."""

    day: date
    #: None for those that answer nothing, such as one that uses up a nonce.
    model_id: int | None
    #: ``fulfilled``, ``reverted`` or ``cancelled``.
    result: str
    transactions: int
    #: That they answered.
    requests: int
    gas: int
    #: Really paid for gas.
    spent: int
    #: Credited by the contract: model fees in ETH, and gas money.
    fees: int
    refunds: int

    @property
    def profit(self) -> int:
        """What is left; negative for a loss."""
        return self.fees + self.refunds - self.spent


class Earnings:
    """Those in a database."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, settled: Settled, at: float) -> None:
        """Count a transaction that became final at ``at`` (seconds since the epoch)."""
        self._db.run(
            "add_earnings",
            day=datetime.fromtimestamp(at, UTC).date().toordinal() - _EPOCH,
            model_id="" if settled.model_id is None else str(settled.model_id),
            result=settled.result,
            requests=settled.requests,
            gas=settled.gas,
            **_split("spent", settled.cost),
            **_split("fees", settled.fees),
            **_split("refunds", settled.refunds),
        )

    def read(self, first: date) -> Iterator[Earned]:
        """All since a day, oldest first; models in their order."""
        for row in self._db.rows("earnings", day=first.toordinal() - _EPOCH):
            yield Earned(
                day=date.fromordinal(row["day"] + _EPOCH),
                model_id=int(row["model_id"]) if row["model_id"] else None,
                result=row["result"],
                transactions=row["transactions"],
                requests=row["requests"],
                gas=row["gas"],
                spent=row["spent_gwei"] * _GWEI + row["spent_wei"],
                fees=row["fees_gwei"] * _GWEI + row["fees_wei"],
                refunds=row["refunds_gwei"] * _GWEI + row["refunds_wei"],
            )


def _split(name: str, wei: int) -> dict[str, int]:
    gwei, rest = divmod(wei, _GWEI)
    return {f"{name}_gwei": gwei, f"{name}_wei": rest}
