"""Operators D9: a real node whose machine's clock is two hours off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.client import Handle, OracleClient
from oracle.devnet import CHAIN_ID, fund_new_key
from tests.ops.test_health import free_port
from tests.patience import PATIENCE

from .conftest import Place

HOUR = 3600


#: Runs before anything else in a process: every look at the time of day is off. Not so the time that
#: waits are measured by, as on a real machine. (libfaketime 0.9.10 breaks either this or `sleep`.)
_SITE = """import time
_now = time.time
time.time = lambda: _now() + {seconds}
time.time_ns = lambda: int(time.time() * 10**9)
"""


@pytest.fixture(params=[2 * HOUR, -2 * HOUR])
def off(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Every Python process that is started from now on has a clock that is off by so much."""
    seconds: int = request.param
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE.format(seconds=seconds))
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{before}".rstrip(os.pathsep))
    told = [sys.executable, "-c", "import time; print(time.time())"]
    assert float(subprocess.check_output(told)) == pytest.approx(time.time() + seconds, abs=60)
    return seconds


def ask(place: Place, lifetime: int) -> Handle:
    key = place.folder / "caller.key"
    fund_new_key(place.anvil.w3, key, 10**18)
    rpc = Rpc([place.anvil.url], CHAIN_ID)
    client = OracleClient(rpc, place.deployed.oracle.address, LocalSigner.from_key_file(key))
    return client.request(place.deployed.model_id, [5.1, 3.5, 1.4, 0.2], lifetime=lifetime)


def command(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "oracle", "node", *words, "--config", str(place.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_clock_is_two_hours_off__request_with_an_hour_to_go__is_answered_and_it_is_said(
    place: Place, off: int
) -> None:
    which = "ahead of" if off > 0 else "behind"
    place.anvil.w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
    checked = command(place, "check", "--no-trial-proof")
    assert checked.returncode == 0, checked.stderr
    (line,) = [line for line in checked.stdout.splitlines() if line.split()[1] == "clock"]
    assert line.startswith("WARN")
    assert which in line

    port = free_port()
    place.config.write_text(place.config.read_text() + f"http_port = {port}\n")
    node = place.start_node()
    node.wait_for_event("ready")
    handle = ask(place, HOUR)
    assert handle.wait(PATIENCE).block_number > handle.block_number
    node.wait_for_event("request final")
    assert "request expired" not in {line["event"] for line in node.log_events()}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE) as answer:
        report = json.loads(answer.read())
    assert report["ok"]
    assert which in report["warnings"]["clock"]
    assert node.stop() == 0
