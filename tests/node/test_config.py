"""Configuration: one line for what is wrong, secrets never quoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oracle.config import NodeConfig, load_node_config
from oracle.errors import ConfigError

GOOD: dict[str, Any] = {
    "chain_id": "1",
    "rpc_urls": '["http://127.0.0.1:8545"]',
    "oracle": '"0x5fbdb2315678afecb367f032d93f642f64180aa3"',
    "bundles": '["models/a", "/models/b"]',
    "store": '"node.db"',
    "work_dir": '"jobs"',
    "key_file": '"node.key"',
}


def write(folder: Path, **changes: str | None) -> Path:
    path = folder / "node.toml"
    values = {key: value for key, value in (GOOD | changes).items() if value is not None}
    path.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_node_config(path)
    line = caught.value.line()
    assert "\n" not in line
    assert str(path) in line
    return line


def test_load__good__resolves_paths_beside_the_file(tmp_path: Path) -> None:
    config = load_node_config(write(tmp_path))
    assert config.store == tmp_path / "node.db"
    assert config.bundles == (tmp_path / "models/a", Path("/models/b"))
    assert config.key_file == tmp_path / "node.key"
    assert config.oracle == "0x5FbDB2315678afecb367f032d93F642f64180aa3"


def test_load__environment__wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_NODE__CHAIN_ID", "5")
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS", '["https://other"]')
    config: NodeConfig = load_node_config(write(tmp_path))
    assert (config.chain_id, config.rpc_urls) == (5, ("https://other",))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chain_id": None}, ["chain_id", "missing"]),
        ({"chain_id": '"x"'}, ["chain_id", "integer"]),
        ({"chain_id": "0"}, ["chain_id", "greater than 0"]),
        ({"oracle": '"0x12"'}, ["oracle", "not an Ethereum address"]),
        ({"payee": '"me"'}, ["payee", "not an Ethereum address"]),
        ({"rpc_urls": "[]"}, ["rpc_urls"]),
        ({"rpc_urls": '["ws://x"]'}, ["rpc_urls", "http"]),
        ({"chainid": "1"}, ["chainid", "not a known field"]),
        ({"key_file": None}, ["either key_file or keystore"]),
        ({"keystore": '"k"'}, ["either key_file or keystore"]),
        ({"key_file": None, "keystore": '"k"'}, ["go together"]),
        ({"chain_id": "= 1"}, ["TOML", "line 1"]),
    ],
)
def test_load__wrong_field__is_named(
    tmp_path: Path, changes: dict[str, str | None], words: list[str]
) -> None:
    line = refusal(write(tmp_path, **changes))
    for word in words:
        assert word in line


def test_load__missing_file__is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.toml")


def test_load__key_in_a_wrong_field__is_not_quoted(tmp_path: Path) -> None:
    key = "ab" * 32
    assert key not in refusal(write(tmp_path, oracle=f'"0x{key}"'))
