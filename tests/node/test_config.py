"""Configuration: one line for what is wrong, secrets never quoted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

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


@pytest.mark.parametrize(
    "store", ["host=127.0.0.1 password=SEKRIT", " user = me password=SEKRIT", "PASSWORD=SEKRIT"]
)
def test_store__keywords_of_the_driver__are_no_file(tmp_path: Path, store: str) -> None:
    line = refusal(write(tmp_path, store=f'"{store}"'))
    assert "postgresql://" in line
    assert "SEKRIT" not in line


def test_store__file_with_an_equals_sign__is_a_file(tmp_path: Path) -> None:
    config = load_node_config(write(tmp_path, store='"chain=1.db"'))
    assert config.store == tmp_path / "chain=1.db"


def test_load__pipe__is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running node reads its configuration anew, and would never end."""
    os.mkfifo(tmp_path / "pipe")
    assert "not a plain file" in refusal(tmp_path / "pipe")
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS_FILE", str(tmp_path / "pipe"))
    with pytest.raises(ConfigError, match="ORACLE_NODE__RPC_URLS_FILE names cannot be read"):
        load_node_config(write(tmp_path))


@pytest.mark.parametrize(
    "second",
    [
        '"http://host:8545"',
        '"http://host:8545/"',
        '"http://HOST:8545"',
        '{ url = "http://host:8545/" }',
    ],
)
def test_load__endpoint_twice__is_refused(tmp_path: Path, second: str) -> None:
    line = refusal(write(tmp_path, rpc_urls=f'["http://host:8545", {second}]'))
    assert "rpc_urls: names an endpoint twice" in line


@pytest.mark.parametrize("second", ['"http://host:8545/key"', '"https://host:8545"'])
def test_load__endpoints_that_differ__are_taken(tmp_path: Path, second: str) -> None:
    path = write(tmp_path, rpc_urls=f'["http://host:8545", {second}]')
    assert len(load_node_config(path).rpc_urls) == 2


@pytest.mark.parametrize("second", ["models/a", "./models/b/../a/"])
def test_load__bundle_twice__is_refused(tmp_path: Path, second: str) -> None:
    line = refusal(write(tmp_path, bundles=f'["models/a", "{second}"]'))
    assert "bundles: names a bundle twice" in line


def test_load__nested_too_deep__is_one_line(tmp_path: Path) -> None:
    assert "nested too deep" in refusal(write(tmp_path, bundles="[" * 100_000))


@pytest.mark.parametrize(
    "value", ["http://127.0.0.1:8545", "[", "[" * 60_000], ids=["url", "cut", "nested"]
)
def test_load__list_in_the_environment_is_none__names_the_variable_and_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS", value)
    line = refusal(write(tmp_path))
    assert "ORACLE_NODE__RPC_URLS: must be a JSON list" in line
    assert "127.0.0.1" not in line


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_store__url__is_kept_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    url = f"{scheme}://me:s3cret@host/db"
    config = load_node_config(write(tmp_path, store=f'"{url}"'))
    assert isinstance(config.store, SecretStr)
    assert config.store.get_secret_value() == url
    assert "s3cret" not in repr(config) + str(config)
    monkeypatch.setenv("ORACLE_NODE__STORE", url)
    assert load_node_config(write(tmp_path)).store == config.store


def test_store__of_another_kind__is_refused_without_its_password(tmp_path: Path) -> None:
    line = refusal(write(tmp_path, store='"mysql://me:s3cret@host/db"'))
    assert "store: write a path, or a URL that begins with postgresql://" in line
    assert "s3cret" not in line


def test_load__environment__wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_NODE__CHAIN_ID", "5")
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS", '["https://other"]')
    config: NodeConfig = load_node_config(write(tmp_path))
    assert (config.chain_id, config.rpc_urls) == (5, ("https://other",))


@pytest.mark.parametrize("name", ["ORACLE_NODE__WORKER", "oracle_node__worker", "ORACLE_NODE__"])
def test_load__environment_names_no_field__is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "3")
    with pytest.raises(ConfigError, match=rf"{name} names no field"):
        load_node_config(write(tmp_path))


@pytest.mark.parametrize("oracle", ["0x" + "ab" * 20, "0x" + "AB" * 20])
def test_load__address_in_one_case__needs_no_checksum(tmp_path: Path, oracle: str) -> None:
    assert load_node_config(write(tmp_path, oracle=f'"{oracle}"')).oracle.lower() == oracle.lower()


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
        ({"ws_url": '"http://x"'}, ["ws_url", "ws://"]),
        ({"rpc_requests_per_second": "0"}, ["rpc_requests_per_second"]),
        ({"chainid": "1"}, ["chainid", "not a known field"]),
        ({"key_file": None}, ["either key_file or keystore"]),
        ({"keystore": '"k"'}, ["either key_file or keystore"]),
        ({"key_file": None, "keystore": '"k"'}, ["go together"]),
        ({"chain_id": "= 1"}, ["TOML", "line 1"]),
        ({"rpc_urls": '["http://h:99999"]'}, ["rpc_urls", "host or port"]),
        ({"rpc_urls": '["http://h:x"]'}, ["rpc_urls", "host or port"]),
        ({"rpc_urls": '["http://[::1"]'}, ["rpc_urls", "host or port"]),
        ({"rpc_urls": '["http://h", "http://"]'}, ["rpc_urls", "host or port"]),
        ({"oracle": '"0x5fbDB2315678afecb367f032d93F642f64180aa3"'}, ["oracle", "checksum"]),
        ({"payee": '"0x5fbDB2315678afecb367f032d93F642f64180aa3"'}, ["payee", "checksum"]),
        ({"chain_id": "9" * 26}, ["chain_id", "less than"]),
        ({"start_block": "9" * 26}, ["start_block", "less than"]),
        ({"poll_seconds": "inf"}, ["poll_seconds", "finite"]),
        ({"stuck_seconds": "nan"}, ["stuck_seconds", "finite"]),
        ({"poll_seconds": "1e300"}, ["poll_seconds", "less than"]),
        ({"min_income": "-1"}, ["min_income", "greater than"]),
        ({"prover": '"ray"'}, ["ray_address", "go together"]),
        ({"ray_address": '"auto"'}, ["ray_address", "go together"]),
        ({"prover": '"dask"'}, ["prover", "'local' or 'ray'"]),
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


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("chain_id", '"x"', 1),
        ("rpc_urls", "[]", 2),
        ("work_dir", "3", 6),
        ("chainid", "1", 8),
        ("workers", "0", 8),
        ("keystore", '"k"', 7),
        ("signer_url", '"http://h"', 7),
        ("password_file", '"p"', 8),
    ],
)
def test_load__wrong_field__its_line_is_named(
    tmp_path: Path, field: str, value: str, line: int
) -> None:
    text = refusal(write(tmp_path, **{field: value}))
    assert f"node.toml, line {line}" in text


def test_load__looks_like_the_field_inside_a_string_or_a_list__is_not_its_line(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, bundles=None, store=None)
    before = 'store = """\nworkers = 0\n"""\nbundles = [\n"workers = 0",\n]\n'
    path.write_text(before + '  "workers" = 0 # none\n' + path.read_text())
    assert "line 7: workers" in refusal(path)


def test_load__table__its_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text() + "\n[metrics]\nport = 1\n")
    assert refusal(path).endswith("line 9: metrics: is not a known field.")


def test_load__misspelt_field__the_nearest_one_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text() + "\nconfirmatons = 0\n")
    assert "confirmatons: is not a known field; did you mean confirmations?" in refusal(path)


def test_load__wrong_override__names_the_variable_and_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_NODE__WORKERS", "none")
    line = refusal(write(tmp_path, workers="1"))
    assert "ORACLE_NODE__WORKERS" in line
    assert "line" not in line


def test_load__key_files_from_the_environment__win_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_NODE__KEY_FILE", "/run/secrets/key")
    assert load_node_config(write(tmp_path)).key_file == Path("/run/secrets/key")


def test_load__key_itself_in_the_environment__is_refused_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_NODE__KEY", "ab" * 32)
    with pytest.raises(ConfigError, match="ORACLE_NODE__KEY names no field") as caught:
        load_node_config(write(tmp_path))
    assert "ab" * 32 not in caught.value.line()


def test_load__secret_endpoints__are_read_from_the_file_that_a_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "endpoints"
    secret.write_text('["https://rpc/APIKEY"]\n')
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS_FILE", str(secret))
    monkeypatch.setenv("ORACLE_NODE__WORKERS_FILE", str(tmp_path / "workers"))
    (tmp_path / "workers").write_text("3\n")
    config = load_node_config(write(tmp_path))
    assert (config.rpc_urls, config.workers) == (("https://rpc/APIKEY",), 3)


def test_load__file_of_an_override_is_wrong__names_the_variable_and_quotes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "endpoints"
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS_FILE", str(secret))
    for text in (None, '["https://rpc/APIKEY"', '["rpc/APIKEY"]'):
        if text is not None:
            secret.write_text(text)
        with pytest.raises(ConfigError, match="ORACLE_NODE__RPC_URLS_FILE") as caught:
            load_node_config(write(tmp_path))
        assert "APIKEY" not in caught.value.line()


def test_load__override_and_its_file__are_not_both_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS_FILE", str(tmp_path / "a"))
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS", '["https://b"]')
    with pytest.raises(ConfigError, match="set the same field"):
        load_node_config(write(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signer_url": '"http://h"', "key_file": None}, "go together"),
        ({"signer_url": '"ftp://h"', "key_file": None}, "signer_url: must be"),
        ({"only_accounts": '["me"]'}, "only_accounts: not an Ethereum address"),
        ({"http_port": "70000"}, "http_port"),
    ],
)
def test_load__wrong_operating_field__is_named(
    tmp_path: Path, changes: dict[str, str | None], words: str
) -> None:
    assert words in refusal(write(tmp_path, **changes))
