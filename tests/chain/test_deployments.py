from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from oracle.chain.deployments import (
    DeployedContract,
    DeployedModel,
    Deployment,
    deployment_path,
    find,
    load,
    record_model,
    save,
)
from oracle.config import build_dir, deployments_dir, project_root
from oracle.errors import ConfigError

DEPLOYMENT = Deployment(
    chain_id=5,
    oracle="0x" + "11" * 20,
    registry="0x" + "22" * 20,
    block=7,
    models=(DeployedModel(1, "iris", "0x" + "33" * 20, "0x" + "44" * 32, "55" * 32),),
    versions={"solc": "0.8.37", "ezkl": "23.0.5"},
    genesis="0x" + "66" * 32,
    contracts=(
        DeployedContract(
            name="ModelRegistry",
            address="0x" + "22" * 20,
            code_hash="0x" + "77" * 32,
            creation_hash="0x" + "88" * 32,
            arguments="0x",
            transaction="0x" + "99" * 32,
        ),
    ),
)


def test_save__then_load__gives_the_same(tmp_path: Path) -> None:
    assert save(DEPLOYMENT, tmp_path) == tmp_path / "5.json"
    assert load(5, tmp_path) == DEPLOYMENT


def test_save__versions_in_another_order__gives_the_same_bytes(tmp_path: Path) -> None:
    first = save(DEPLOYMENT, tmp_path / "a").read_bytes()
    reordered = dict(reversed(DEPLOYMENT.versions.items()))
    assert save(replace(DEPLOYMENT, versions=reordered), tmp_path / "b").read_bytes() == first


def test_load__no_record__says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(5, tmp_path)
    assert f"chain 5 in {tmp_path}" in caught.value.line()
    assert "oracle deploy" in caught.value.line()


@pytest.mark.parametrize("name", ["ORACLE_DEPLOYMENTS", "ORACLE_BUILD_DIR"])
def test_folder__variable_is_empty__is_the_default(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As compose files and units leave it."""
    monkeypatch.setenv(name, "")
    named = {"ORACLE_DEPLOYMENTS": deployments_dir, "ORACLE_BUILD_DIR": build_dir}[name]
    assert named() == project_root() / {"ORACLE_BUILD_DIR": "build"}.get(name, "deployments")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"models": []}', '{"models": [{"model_id": 1}]}', '{"models": 1}']
)
def test_load__not_a_record__names_the_file(tmp_path: Path, text: str) -> None:
    deployment_path(5, tmp_path).write_text(text)
    with pytest.raises(ConfigError, match=r"5\.json is not a deployment record"):
        load(5, tmp_path)


def test_load__record_of_another_chain__is_refused(tmp_path: Path) -> None:
    values = json.loads(save(DEPLOYMENT, tmp_path).read_text())
    deployment_path(6, tmp_path).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="describes chain 5"):
        load(6, tmp_path)


def test_find__no_record__is_none(tmp_path: Path) -> None:
    assert find(5, tmp_path) is None


def test_record_model__of_the_recorded_registry__is_added_once(tmp_path: Path) -> None:
    save(DEPLOYMENT, tmp_path)
    model = replace(DEPLOYMENT.models[0], model_id=2)
    for _ in range(2):
        record_model(5, DEPLOYMENT.registry, model, tmp_path)
    assert load(5, tmp_path).models == (*DEPLOYMENT.models, model)


def test_record_model__of_another_registry_or_chain__changes_nothing(tmp_path: Path) -> None:
    text = save(DEPLOYMENT, tmp_path).read_text()
    model = replace(DEPLOYMENT.models[0], model_id=2)
    record_model(5, DEPLOYMENT.oracle, model, tmp_path)
    record_model(6, DEPLOYMENT.registry, model, tmp_path)
    assert deployment_path(5, tmp_path).read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["5.json"]
