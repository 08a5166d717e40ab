"""Endpoints in a configuration: an address, or a table with headers, certificates and limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.access import Access
from oracle.config import load_node_config
from oracle.errors import ConfigError

AUTHORITY = Path(__file__).parents[1] / "chain/tls/authority.pem"
KEY = "s3cret-KEY-0123456789"
REST = """\
chain_id = 1
oracle = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
bundles = ["a"]
store = "node.db"
work_dir = "jobs"
key_file = "node.key"
"""
BARE = '[[rpc_urls]]\nurl = "https://h"\n'


def write(folder: Path, endpoints: str, *, mode: int = 0o600) -> Path:
    """A configuration, with a key beside it in ``rpc.key``."""
    path = folder / "node.toml"
    path.write_text(REST + endpoints)
    (folder / "rpc.key").write_text(f"Bearer {KEY}\n")
    (folder / "rpc.key").chmod(mode)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_node_config(path)
    line = caught.value.line()
    assert "\n" not in line
    assert str(path) in line
    assert KEY not in line
    return line


def test_endpoints__addresses_and_tables__may_be_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators D15, missing 10."""
    monkeypatch.setenv("RPC_KEY", f" {KEY}\n")
    (tmp_path / "ca.pem").write_text(AUTHORITY.read_text())
    text = (
        'rpc_urls = ["https://a/v2/k", { url = "https://b", ca_file = "ca.pem", burst = 5, '
        "requests_per_second = 2.5, log_chunk = 10, logs = false, headers = "
        '{ Authorization = { file = "rpc.key" }, x-api-key = { env = "RPC_KEY" } } }]\n'
    )
    config = load_node_config(write(tmp_path, text))
    assert config.endpoints == (
        Access("https://a/v2/k"),
        Access(
            "https://b",
            {"Authorization": f"Bearer {KEY}", "x-api-key": KEY},
            tmp_path / "ca.pem",
            2.5,
            5,
            10,
            logs=False,
        ),
    )
    assert KEY not in repr(config) + str(config) + repr(config.endpoints)


def test_endpoints__tables_of_their_own__are_the_same(tmp_path: Path) -> None:
    text = BARE + '[[rpc_urls]]\nurl = "http://i"\n[rpc_urls.headers]\nA = { file = "rpc.key" }\n'
    found = load_node_config(write(tmp_path, text)).endpoints
    assert [access.url for access in found] == ["https://h", "http://i"]
    assert found[1].headers == {"A": f"Bearer {KEY}"}


def test_endpoints__override__may_have_tables_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, 'rpc_urls = ["https://h"]\n')
    value = '[{"url": "https://i", "headers": {"A": {"file": "rpc.key"}}}]'
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS", value)
    assert load_node_config(path).endpoints[0].headers == {"A": f"Bearer {KEY}"}
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS", value.replace("rpc.key", "none"))
    line = refusal(path)
    assert "ORACLE_NODE__RPC_URLS" in line
    assert "none cannot be read" in line


def test_header__its_file_changed__is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path, BARE + 'headers = { A = { file = "rpc.key" } }\n')
    config = load_node_config(path)
    (tmp_path / "rpc.key").write_text("another\n")
    assert config.endpoints[0].headers == {"A": "another"}


REFUSED = {
    "value in the configuration": (
        BARE + f'headers = {{ A = "{KEY}" }}\n',
        ["line 9: rpc_urls.0.headers.A: the value of a header is a secret", "{ file = "],
    ),
    "file and variable": (
        BARE + 'headers = { A = { file = "rpc.key", env = "X" } }\n',
        ["line 9", "write { file ="],
    ),
    "neither": (BARE + "headers = { A = {} }\n", ["line 9", "write { file ="]),
    "no such file": (
        BARE + 'headers = { A = { file = "none" } }\n',
        ["line 7: rpc_urls.0", "none cannot be read", "Let this user"],
    ),
    "no such variable": (
        BARE + 'headers = { A = { env = "NO_SUCH_VARIABLE" } }\n',
        ["line 7", "NO_SUCH_VARIABLE is not set", "Set it"],
    ),
    "header that is ours": (
        BARE + 'headers = { Content-Length = { file = "rpc.key" } }\n',
        ["line 9", "cannot be set"],
    ),
    "header of two lines": (
        BARE + 'headers = { "A\\r\\nB" = { file = "rpc.key" } }\n',
        ["line 9", "cannot be set"],
    ),
    "header twice": (
        BARE + 'headers = { A = { file = "rpc.key" }, a = { file = "rpc.key" } }\n',
        ["line 9", "twice"],
    ),
    "field misspelt": (
        BARE + "log_chunks = 5\n",
        ["line 9: rpc_urls.0.log_chunks: is not a known field; did you mean log_chunk?"],
    ),
    "field of the second misspelt": (
        BARE + "burst = 1\n" + BARE + "\nburst = 0\n",
        ["line 13: rpc_urls.1.burst"],
    ),
    "budget of nothing": (BARE + "requests_per_second = 0\n", ["line 9", "requests_per_second"]),
    "budget not a number": (BARE + "requests_per_second = nan\n", ["line 9", "finite"]),
    "no logs anywhere": (BARE + "logs = false\n", ["line 7: rpc_urls:", "logs = false"]),
    "no address": ("[[rpc_urls]]\nlogs = true\n", ["line 7: rpc_urls.0.url: is missing"]),
    "address of another kind": (
        '[[rpc_urls]]\nurl = "ws://h"\n',
        ["line 8: rpc_urls.0.url", "http"],
    ),
    "number in the list": ("rpc_urls = [1]\n", ["line 7: rpc_urls.0: write a URL"]),
    "authority without TLS": (
        '[[rpc_urls]]\nurl = "http://h"\nca_file = "rpc.key"\n',
        ["line 7: rpc_urls.0: ca_file needs a url that begins with https://"],
    ),
    "authority that is none": (BARE + 'ca_file = "rpc.key"\n', ["line 7", "holds no certificates"]),
    "authority that is not there": (BARE + 'ca_file = "none"\n', ["line 7", "No such file"]),
}


@pytest.mark.parametrize(("endpoints", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_endpoints__wrong__line_and_remedy_are_named(
    tmp_path: Path, endpoints: str, said: list[str]
) -> None:
    """Operators D15, missing 10."""
    line = refusal(write(tmp_path, endpoints))
    for each in said:
        assert each in line


def test_header__file_that_others_read__is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write(tmp_path, BARE + 'headers = { A = { file = "rpc.key" } }\n', mode=0o644)
    assert f"Run: chmod 600 {tmp_path / 'rpc.key'}" in refusal(path)


@pytest.mark.parametrize("text", ["", "\n", "a\nb", "a\x00", "schlüssel"])
def test_header__value_that_none_can_have__is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, BARE + 'headers = { A = { file = "rpc.key" } }\n')
    (tmp_path / "rpc.key").write_text(text)
    assert "holds no value of a header" in refusal(path)
