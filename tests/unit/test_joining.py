"""A bundle more in a node's configuration, which a person may have written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.config import load_node_config
from oracle.errors import ConfigError
from oracle.joining import add, folders

HEAD = f'chain_id = 31337\nrpc_urls = ["http://127.0.0.1:1"]\noracle = "0x{1:040x}"\n'
TAIL = '\nstore = "node.db"\nwork_dir = "jobs"\nkey_file = "key"\n# bundles = ["old"]\n'


def written(folder: Path, bundles: str) -> Path:
    config = folder / "node.toml"
    config.write_text(HEAD + bundles + TAIL)
    config.chmod(0o600)
    return config


@pytest.mark.parametrize(
    ("bundles", "before"),
    [
        ('bundles = ["first"]', ["first"]),
        ('bundles=[ "first" ,\n  "second", # mine\n]', ["first", "second"]),
        ("bundles = ['first']  # by hand", ["first"]),
    ],
)
def test_add__however_it_is_written__it_names_one_bundle_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundles: str, before: list[str]
) -> None:
    config = written(tmp_path, bundles)
    monkeypatch.chdir(tmp_path)
    add(config, Path('a "new" ö'))
    names = [*before, 'a "new" ö']
    assert folders(config) == tuple(str(tmp_path / name) for name in names)
    assert load_node_config(config).store == tmp_path / "node.db"
    assert config.read_text().endswith(TAIL)
    assert config.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["node.toml"]


def test_add__written_as_it_is_not_changed_here__says_what_to_write_and_leaves_it(
    tmp_path: Path,
) -> None:
    config = written(tmp_path, 'bundles = ["first]"]')
    before = config.read_text()
    with pytest.raises(ConfigError) as caught:
        add(config, tmp_path / "new")
    assert f'"{tmp_path / "new"}"]' in str(caught.value.remedy)
    assert config.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["node.toml"]
