from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from oracle.chain.deployments import DeployedModel, Deployment, deployment_path, load, save
from oracle.errors import ConfigError

DEPLOYMENT = Deployment(
    chain_id=5,
    oracle="0x" + "11" * 20,
    registry="0x" + "22" * 20,
    block=7,
    models=(DeployedModel(1, "iris", "0x" + "33" * 20, "0x" + "44" * 32, "55" * 32),),
    versions={"solc": "0.8.37", "ezkl": "23.0.5"},
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
    assert "chain 5" in caught.value.line()
    assert "ape run deploy" in caught.value.line()


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
