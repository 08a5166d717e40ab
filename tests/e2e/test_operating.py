"""A real node process under an operator's hands: shutdown, keys, health, systemd, the network."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from eth_account import Account

from oracle import demo
from oracle.devnet import NodeProcess
from tests.circuits.makers import children_of, wait_until_gone
from tests.ops.test_health import free_port
from tests.patience import PATIENCE

from .conftest import Place

Edit = Callable[[str, str], None]


def provers(node: NodeProcess) -> list[int]:
    """Process ids of a node's proofs, as soon as they run their program.

    One that is stopped before would stop the node with it, which waits until it has begun.
    """
    return [pid for pid in children_of(node.pid) if "oracle.prover.worker" in command_of(pid)]


def command_of(pid: int) -> str:
    """A process's command line; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def stopped_prover(node: NodeProcess) -> Iterator[int]:
    """The process of the running proof, stopped where it is."""
    node.wait_for_event("proving")
    deadline = time.monotonic() + PATIENCE
    while not (found := provers(node)):
        assert time.monotonic() < deadline, "no prover was started"
        time.sleep(0.002)
    (pid,) = found
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def append(place: Place, text: str) -> None:
    place.config.write_text(place.config.read_text() + text)


def test_stop__while_proving__finishes_and_sends_the_proof_then_exits_with_zero(
    place: Place,
) -> None:
    node = place.start_node()
    node.wait_for_event("ready")
    asked = place.ask(5.1, 3.5, 1.4, 0.2)
    with stopped_prover(node):
        node._process.send_signal(signal.SIGTERM)
        node.wait_for_event("stopping")
    assert node._process.wait(PATIENCE) == 0
    assert place.fulfilments(asked) == 1
    events = [line["event"] for line in node.log_events()]
    assert events.index("stopping") < events.index("transaction signed") < events.index("stopped")


def test_stop__longer_than_the_drain_may_take__exits_with_zero_and_the_next_start_goes_on(
    place: Place,
) -> None:
    append(place, "drain_seconds = 0.5\n")
    node = place.start_node()
    node.wait_for_event("ready")
    asked = place.ask(5.1, 3.5, 1.4, 0.2)
    with stopped_prover(node) as pid:
        assert node.stop() == 0
        wait_until_gone(pid)
    assert "proofs given up, to be made again at the next start" in [
        line["event"] for line in node.log_events()
    ]
    assert place.fulfilments(asked) == 0
    place.start_node()
    demo.wait_for_answer(place.deployed, asked)
    assert place.fulfilments(asked) == 1


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_stop__second_signal__ends_at_once_and_leaves_no_prover(place: Place, second: int) -> None:
    node = place.start_node()
    node.wait_for_event("ready")
    place.ask(5.1, 3.5, 1.4, 0.2)
    with stopped_prover(node) as pid:
        node._process.send_signal(signal.SIGTERM)
        node.wait_for_event("stopping")
        with pytest.raises(subprocess.TimeoutExpired):
            node._process.wait(0.5)
        node._process.send_signal(second)
        assert node._process.wait(PATIENCE) == 128 + second
    wait_until_gone(pid)


def test_keys__log_and_prover_processes__hold_none_of_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an encrypted key, and an endpoint whose address has a secret in it."""
    key = (place.folder / "node.key").read_text().strip()
    password, api_key = "correct horse battery", "s3cretAPIKEY"
    keystore = place.folder / "keystore.json"
    keystore.touch(mode=0o600)
    keystore.write_text(json.dumps(Account.encrypt(key, password, kdf="pbkdf2", iterations=1)))
    (place.folder / "password").touch(mode=0o600)
    (place.folder / "password").write_text(password + "\n")
    text = place.config.read_text()
    kept = [line for line in text.splitlines() if not line.startswith("key_file")]
    place.config.write_text("\n".join([*kept, 'keystore = "keystore.json"\n']))
    (place.folder / "node.key").unlink()
    monkeypatch.setenv("ORACLE_NODE__PASSWORD_FILE", str(place.folder / "password"))
    url = place.anvil.url.replace("http://", f"http://user:{api_key}@")
    monkeypatch.setenv("ORACLE_NODE__RPC_URLS", json.dumps([url]))
    node = place.start_node()
    node.wait_for_event("ready")
    asked = place.ask(5.1, 3.5, 1.4, 0.2)
    with stopped_prover(node) as pid:
        seen = [
            Path(f"/proc/{pid}/environ").read_bytes(),
            Path(f"/proc/{pid}/cmdline").read_bytes(),
        ]
        seen += [path.read_bytes() for path in (place.folder / "jobs").rglob("*") if path.is_file()]
        opened = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    demo.wait_for_answer(place.deployed, asked)
    # An endpoint that is gone is what the log says most about.
    place.anvil.close()
    node.wait_for_event("service paused")
    node.stop()
    seen.append((place.folder / "node-0.log").read_bytes())
    secrets = (key.removeprefix("0x"), password, api_key)
    for secret in secrets:
        assert not [text for text in seen if secret.lower().encode() in text.lower()]
    assert not [name for name in opened if name.startswith("socket:") or "keystore" in name]
    assert opened, "the prover's files were not looked at"


def test_health__real_process__is_live_ready_and_counts_what_it_did(place: Place) -> None:
    port = free_port()
    append(place, f"http_port = {port}\n")
    node = place.start_node()
    node.wait_for_event("ready")

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    demo.wait_for_answer(place.deployed, place.ask(5.1, 3.5, 1.4, 0.2))
    node.wait_for_event("request final")
    assert json.loads(get("/livez"))["ok"]
    assert json.loads(get("/readyz"))["ok"]
    text = get("/metrics")
    assert 'oracle_node_transactions_total{result="fulfilled"} 1.0' in text
    assert 'oracle_node_proofs_total{code="",result="proved"} 1.0' in text
    earned = [line for line in text.splitlines() if line.startswith("oracle_node_wei_earned_total")]
    assert all(float(line.split()[-1]) > 0 for line in earned)
    assert f'oracle_node_rpc_requests_total{{endpoint="{place.anvil.url}"}}' in text
    assert node.stop() == 0


def test_systemd__is_told_of_the_start_and_the_stop(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(place.folder / "notify"))
        systemd.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(place.folder / "notify"))
        node = place.start_node()
        assert systemd.recv(100) == b"READY=1"
        node._process.terminate()
        assert systemd.recv(100) == b"STOPPING=1"
        assert node._process.wait(PATIENCE) == 0


_WITNESS = """
import sys
from oracle.cli.main import run

def hear(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        print("PEER", arguments[1], file=peers, flush=True)
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        print("NAME", arguments[0], file=peers, flush=True)

peers = open(sys.argv.pop(1), "w")
sys.addaudithook(hear)
run()
"""


def test_network__a_request_from_start_to_end__only_the_endpoint_is_spoken_to(place: Place) -> None:
    peers = place.folder / "peers"
    command = [sys.executable, "-c", _WITNESS, str(peers), "node", "run"]
    process = subprocess.Popen(
        [*command, "--config", str(place.config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        demo.wait_for_answer(place.deployed, place.ask(5.1, 3.5, 1.4, 0.2))
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    port = place.anvil.url.rpartition(":")[2]
    lines = set(peers.read_text().splitlines())
    assert lines == {f"PEER ('127.0.0.1', {port})", "NAME 127.0.0.1"}
