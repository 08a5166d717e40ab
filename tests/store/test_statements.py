"""Both engines know the same statements, and understand every one."""

from __future__ import annotations

import re

import pytest

from oracle.store.database import Location, named_statements, sql
from oracle.store.ledger import Store

from .makers import make_store

#: Values whose type PostgreSQL cannot tell from their place alone.
TIMES = {"now": 1.0, "before": 1.0}
OVERLAYS = ("queries_sqlite.sql", "queries_postgres.sql")


def test_overlays__say_the_same_things_and_nothing_that_both_read_alike() -> None:
    first, second = (named_statements(sql(name)) for name in OVERLAYS)
    assert set(first) == set(second)
    assert not set(first) & set(named_statements(sql("queries.sql")))
    assert all(first[name] != second[name] for name in first)


def test_statements__every_one__is_understood(store: Store) -> None:
    statements = store._db._statements
    assert len(statements) > 70
    for statement in statements.values():
        names = re.findall(r":([a-z_]+)|%\(([a-z_]+)\)s", statement)
        values = {name: TIMES.get(name) for name in map("".join, names)}
        store._db._connection().execute("EXPLAIN " + statement, values)


@pytest.mark.parametrize("name", ["rows", "run"])
def test_statement__unknown__is_a_mistake(store: Store, name: str) -> None:
    with pytest.raises(KeyError):
        getattr(store._db, name)("no_such_statement")


def test_open__operator__writes_beside_a_node(store: Store, location: Location) -> None:
    beside = make_store(location, operator=True)
    beside.set_head(1, 2, 3)
    beside.close()
