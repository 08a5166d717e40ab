"""What is looked at on a machine that only runs a node (operators D10)."""

from __future__ import annotations

import pytest

from oracle import doctor
from oracle.doctor import Health
from oracle.errors import ToolchainError


def test_doctor__installed_package__looks_at_what_a_node_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Operators D10: it missed compilers, and said to run make where there is no Makefile."""
    monkeypatch.setattr(doctor, "is_checkout", lambda: False)
    found = doctor.examine()
    assert [each.subject for each in found] == ["python", "ezkl", "memory", "disk", "cores"]
    assert all(each.health is not Health.MISSING for each in found)


def test_doctor__installed_package_lacks_something__the_remedy_is_no_make(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object) -> None:
        raise ToolchainError("gone")

    def absent(name: str) -> None:
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "is_checkout", lambda: False)
    monkeypatch.setattr(doctor, "version", absent)
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.12.1")
    monkeypatch.setitem(doctor._CHECKS, "memory", missing)
    found = {each.subject: each for each in doctor.examine()}
    for subject in ("python", "ezkl", "memory"):
        assert found[subject].health is Health.MISSING
        assert found[subject].remedy
        assert "make" not in found[subject].remedy


def test_doctor__checkout__looks_at_the_compilers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_CHECKS", dict.fromkeys(doctor._CHECKS, doctor._cores))
    assert {"anvil", "node"} <= {each.subject for each in doctor.examine()}
