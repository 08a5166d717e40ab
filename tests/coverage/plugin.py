"""A pytest plugin: contract tests run on instrumented contracts, and what ran is written down.

``pytest -p tests.coverage.plugin`` replaces the sources that the tests compile and the virtual
machine that they run on. Which probes were reached goes to `REACHED`, one index a line.

Left out: tests on anvil, which refuses contracts of this size, of the mock, which is compiled in
another way, and of the sources and the bytecode themselves.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pyrevm
import pytest
from pyrevm import CfgEnv, Env, TxEnv

from oracle.chain import artifacts, input_ranges
from oracle.config import build_dir
from tests.coverage.instrument import PROBE_BASE, instrument, probe_address

_Machine = pyrevm.EVM
_MAINNET = 1
_CODE_LIMIT = 1 << 20
#: EIP-2930: what a transaction pays for an address in its access list.
_ACCESS_GAS = 2_400

_LEFT_OUT = frozenset(
    {
        "test_artifacts.py",
        "test_audit_page.py",
        "test_docs.py",
        "test_gas_snapshot.py",
        "test_kit.py",
        "test_mock.py",
    }
)

_INSTRUMENTED = instrument(artifacts.sources())
_ADDRESSES = [probe_address(index) for index in range(len(_INSTRUMENTED.probes))]
_reached: set[int] = set()


def reached_file() -> Path:
    """Where the indices of the reached probes are written."""
    return build_dir() / "bench" / "coverage-reached.txt"


class ProbedMachine:
    """pyrevm's EVM; probes are on every access list, so that each costs little gas.

    When it is thrown away, the probes among the accounts it looked up are noted.
    """

    def __init__(self, env: Env | None = None, **options: Any) -> None:
        chain_id = _MAINNET if env is None else env.cfg.chain_id
        larger = Env(cfg=CfgEnv(chain_id=chain_id, limit_contract_code_size=_CODE_LIMIT))
        self._machine = _Machine(env=larger, **options)
        self._machine.set_tx_env(TxEnv(access_list=[(probe, []) for probe in _ADDRESSES]))
        weakref.finalize(self, _collect, self._machine)

    def message_call(self, *arguments: Any, gas: int | None = None, **how: Any) -> Any:
        """The original's, with the access list's gas on top."""
        if gas is not None:
            gas += _ACCESS_GAS * len(_ADDRESSES)
        return self._machine.message_call(*arguments, gas=gas, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


def _collect(machine: Any) -> None:
    for address in machine.db_accounts:
        index = int(address, 16) - PROBE_BASE
        if 0 <= index < len(_ADDRESSES):
            _reached.add(index)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before any test module is imported."""
    pyrevm.EVM = ProbedMachine
    artifacts.sources = lambda: _INSTRUMENTED.sources
    # The committed code has no probes.
    input_ranges._logic = lambda: artifacts.contract("InputRanges").deployed_bytecode


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [
        item
        for item in items
        if "devnet" in getattr(item, "fixturenames", ()) or item.path.name in _LEFT_OUT
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    path = reached_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Machines that fixtures still hold are collected now.
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        if (found := finalizer.peek()) is not None and found[1] is _collect:
            finalizer()
    path.write_text("".join(f"{index}\n" for index in sorted(_reached)))
