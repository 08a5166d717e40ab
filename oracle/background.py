"""A devnet that stays: started once, found again, stopped by whoever wants.

    folder/devnet.json    what runs and where it is; written last, so that what it says is true
    folder/node.toml      a node's configuration for it, with a funded key
    folder/caller.key     a funded account to ask with

Invariant: only processes that this module started are stopped. A process is known by its id and by
the time it was started at, so an id that the system has given to something else is left alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oracle import joining
from oracle.chain import deployments
from oracle.chain.deployments import DeployedModel, Deployment
from oracle.chain.rpc import Rpc
from oracle.chain.toolchain import SOLC_CONTRACTS
from oracle.circuits.bundle import Bundle
from oracle.config import build_dir
from oracle.demo import Report, write_node_config
from oracle.devnet import CHAIN_ID, Anvil, Deployed, NodeProcess, deploy, fund_new_key
from oracle.errors import ChainError, UsageError
from oracle.tensor import Ranges, dequantize, ranges_of
from oracle.types import TensorSpec

#: Anvil's own.
PORT = 8545
#: Of the node's page, as documented.
PAGE_PORT = 9464

_STATE = "devnet.json"
_LOG = "anvil.log"
_KEY = "caller.key"
#: All that a devnet leaves in its folder, a node's files of it included.
_OWN = (_LOG, f"{_STATE}*", "node.toml", "node.key", "node.log", "node.db*", "jobs", _KEY)
_CALLER_WEI = 10 * 10**18
#: Seconds for a process to end when asked to; a node finishes its step first.
_PATIENCE = 120.0
#: Seconds for a node to be ready: a busy machine takes its time to import all that it needs.
_READY = 120.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process that was started here."""

    pid: int
    #: Clock ticks from the machine's start to the process's: no two processes of an id share it.
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """A process that runs.

        Raises:
            ChainError: it does not.
        """
        started = _started(pid)
        if started is None:
            raise ChainError(f"process {pid} ended at once")
        return cls(pid, started)

    @property
    def is_running(self) -> bool:
        """Whether it is still there."""
        return _started(self.pid) == self.started

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _PATIENCE
            if self.is_running:
                os.kill(self.pid, number)
            while self.is_running and time.monotonic() < deadline:
                time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Added:
    """A model that was added to a devnet that ran."""

    model_id: int
    model: str
    #: An input that it takes, as the command line takes numbers.
    example: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A devnet that runs."""

    url: str
    chain_id: int
    oracle: str
    registry: str
    #: A caller contract of the model.
    consumer: str
    model_id: int
    model: str
    #: An input that it takes, as the command line takes numbers.
    example: str
    #: A key file with ether.
    caller_key: str
    #: A node's configuration.
    node_config: str
    anvil: Process
    node: Process | None
    #: The node's live page; None before a node was started.
    page: str | None = None
    #: Folders of the bundles that the node was started with.
    serves: tuple[str, ...] = ()
    #: Models beside the first, which the caller contract asks.
    added: tuple[Added, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether the chain is up."""
        return self.anvil.is_running


def folder_of() -> Path:
    """Where the devnet's state is unless told otherwise."""
    return build_dir() / "devnet"


def find(folder: Path) -> Standing | None:
    """The devnet of a folder, if one was started there and still runs.

    Raises:
        UsageError: it is no folder, or what says so there was damaged.
    """
    found = _recorded(folder)
    return found if found is not None and found.is_running else None


def _recorded(folder: Path) -> Standing | None:
    """What was last started in a folder and not stopped; its processes may have ended since."""
    path = folder / _STATE
    try:
        values = json.loads(path.read_text())
        node = values.pop("node")
        return Standing(
            **{
                **values,
                "anvil": Process(**values["anvil"]),
                "node": node and Process(**node),
                "serves": tuple(values.get("serves", ())),
                "added": tuple(Added(**each) for each in values.get("added", ())),
            }
        )
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise UsageError(
            f"{folder} is a file, not a folder", remedy="Name a folder with --folder"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{path} does not say what runs: it was damaged",
            remedy=f"Stop anvil and the node yourself, and remove {folder}",
        ) from None


def up(
    folder: Path,
    bundle: Bundle,
    report: Report,
    *,
    port: int = PORT,
    with_node: bool = False,
    example: Sequence[float] | None = None,
) -> Standing:
    """A devnet with contracts and a model, and a node if wanted: what runs already stays.

    Args:
        folder: for its state; new, or that of an earlier devnet.
        bundle: the model.
        report: told about progress.
        port: where the chain listens.
        with_node: have a node run, too, and serve its page.
        example: an input to propose; by default the middle of the model's range. No sample of a
            publisher's, who may not want it shown.

    Raises:
        UsageError: the folder holds something else.
        ChainError: the chain or the node does not start.
    """
    found = find(folder)
    if found is None:
        found = _start_chain(folder, bundle, report, port, example)
    return start_node(folder, found, report) if with_node else found


def start_node(folder: Path, found: Standing, report: Report) -> Standing:
    """A devnet with a node, which stays as it is if it runs.

    Raises:
        ChainError: it does not start.
    """
    if found.node is not None and found.node.is_running:
        return found
    return _start_node(folder, found, report)


def add(
    folder: Path, found: Standing, bundle: Bundle, report: Report, *, with_node: bool = False
) -> Standing:
    """A devnet that has this model, too: registered, and served by its node.

    A node that was started without the bundle is started again; what it was doing goes on.

    Args:
        folder: of its state.
        found: what runs there.
        bundle: the model.
        report: told about progress.
        with_node: have a node run if none does.

    Raises:
        ConfigError: the node's configuration is written in a way that is not changed by us.
        ChainError: the model is not registered, or the node does not start.
    """
    with report.step(f"Register {bundle.name}") as detail:
        rpc = Rpc([found.url], found.chain_id)
        key = Path(found.caller_key)
        model_id = joining.registered(bundle, rpc, found.registry, key, detail)
        detail(f"model {model_id}")
    if model_id not in (found.model_id, *(each.model_id for each in found.added)):
        example = _middle(bundle.spec.input, bundle.spec.input_ranges)
        more = Added(model_id, bundle.name, example)
        found = dataclasses.replace(found, added=(*found.added, more))
        _save(folder, found)
    config, place = Path(found.node_config), bundle.path.resolve()
    if str(place) not in joining.folders(config):
        joining.add(config, place)
    if found.node is not None and found.node.is_running and str(place) not in found.serves:
        with report.step("Stop the node") as detail:
            detail(f"process {found.node.pid}")
            found.node.stop()
        with_node = True
    return start_node(folder, found, report) if with_node else found


def down(folder: Path) -> Standing | None:
    """Stop what `up` started in this folder; what that was, or None when nothing of it runs."""
    found = _recorded(folder)
    if found is None:
        return None
    # A node outlives a chain that was killed.
    running = [each for each in (found.node, found.anvil) if each is not None and each.is_running]
    if not running:
        return None
    for process in running:
        process.stop()
    (folder / _STATE).unlink()
    _forget(found)
    return found


def _start_chain(
    folder: Path, bundle: Bundle, report: Report, port: int, example: Sequence[float] | None
) -> Standing:
    left = _recorded(folder)
    if left is not None and left.node is not None:
        # Its chain is gone; without its store it would be lost here, and keep its page's port.
        left.node.stop()
    _clear(folder)
    with report.step(f"Start a chain on port {port}") as detail:
        anvil = Anvil(folder / _LOG, port=port)
        detail(f"process {anvil.pid}")
    try:
        with report.step("Deploy registry, oracle, verifier and a caller contract") as detail:
            deployed = deploy(anvil.w3, bundle, "PredictionConsumer")
            detail(f"oracle at {deployed.oracle.address}")
        # First of what only a devnet has: `_clear` knows its folder by it.
        caller = folder / _KEY
        fund_new_key(anvil.w3, caller, _CALLER_WEI)
        config = write_node_config(folder, anvil, deployed, bundle)
        record = _record(deployed, bundle)
        deployments.save(record)
        first = "0x" + bytes(anvil.w3.eth.get_block(0)["hash"]).hex()
        own = dataclasses.replace(record, genesis=first, folder=str(folder.resolve()))
        deployments.save_devnet(own, anvil.url)
        found = Standing(
            url=anvil.url,
            chain_id=CHAIN_ID,
            oracle=deployed.oracle.address,
            registry=deployed.registry.address,
            consumer=deployed.consumer.address,
            model_id=deployed.model_id,
            model=bundle.name,
            example=_middle(bundle.spec.input, bundle.spec.input_ranges)
            if example is None
            else _typed(example),
            caller_key=str(caller),
            node_config=str(config),
            anvil=Process.of(anvil.pid),
            node=None,
        )
        _save(folder, found)
    except BaseException:
        anvil.close()
        raise
    return found


def _middle(spec: TensorSpec, ranges: Ranges = ()) -> str:
    middles = [(low + high) // 2 for low, high in ranges_of(spec, ranges)]
    return _typed([dequantize(middle, spec.scale) for middle in middles])


def _typed(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _start_node(folder: Path, found: Standing, report: Report) -> Standing:
    with report.step("Start a node") as detail:
        log = folder / "node.log"
        log.unlink(missing_ok=True)
        page = _serve_page(Path(found.node_config))
        node = NodeProcess(Path(found.node_config), log)
        try:
            detail(f"account {node.wait_for_event('ready', _READY)['account']}")
            serves = joining.folders(Path(found.node_config))
            found = dataclasses.replace(found, node=Process.of(node.pid), page=page, serves=serves)
            _save(folder, found)
        except BaseException:
            node.close()
            raise
    return found


def _serve_page(config: Path) -> str:
    """Have a node serve its page on a free port, the documented one if that is; the page's URL."""
    kept = [line for line in config.read_text().splitlines() if not line.startswith("http_port ")]
    port = _free_port()
    config.write_text("\n".join([*kept, f"http_port = {port}", ""]))
    return f"http://127.0.0.1:{port}"


def _free_port() -> int:
    for port in (PAGE_PORT, 0):
        with socket.socket() as probe:
            # As the server does: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ChainError("no port is free for the node's page", remedy="Stop what uses them")


def _clear(folder: Path) -> None:
    """Remove what an earlier devnet left: its chain is gone, and with it all that a node knew.

    What somebody else put there stays, and so does the folder: a shell may stand in it.
    """
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        # The log alone is of a chain that did not start.
        if not (names <= {_LOG} or names >= {_LOG, _KEY}):
            raise UsageError(
                f"{folder} holds something else", remedy="Name a new folder with --folder"
            )
        for path in (path for pattern in _OWN for path in folder.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made ({error.strerror})", remedy="Name another with --folder"
        ) from None


def _record(deployed: Deployed, bundle: Bundle) -> Deployment:
    return Deployment(
        chain_id=CHAIN_ID,
        oracle=deployed.oracle.address,
        registry=deployed.registry.address,
        block=0,
        models=(
            DeployedModel(
                model_id=deployed.model_id,
                name=bundle.name,
                verifier=deployed.verifier.address,
                code_hash="0x" + bundle.spec.verifier_code_hash.hex(),
                bundle=bundle.bundle_id,
            ),
        ),
        versions={"solc_contracts": SOLC_CONTRACTS, **bundle.versions},
    )


def _forget(found: Standing) -> None:
    """Take the records of contracts that are gone away; the chain's is left to what still runs."""
    own = deployments.devnet_path(found.chain_id, found.url)
    own.unlink(missing_ok=True)
    others = [path for path in own.parent.glob("devnet-*.json") if _is_listening(path)]
    path = deployments.deployment_path(found.chain_id)
    if others or not path.exists():
        return
    # Others may have been deployed there by now.
    if deployments.load(found.chain_id).oracle == found.oracle:
        path.unlink()


def _is_listening(record: Path) -> bool:
    """Whether the devnet of a record is up; one that was killed has left it behind."""
    port = int(record.stem.removeprefix("devnet-"))
    try:
        socket.create_connection(("127.0.0.1", port), _PATIENCE).close()
    except OSError:
        return False
    return True


def _save(folder: Path, standing: Standing) -> None:
    partial = folder / f"{_STATE}.partial"
    partial.write_text(json.dumps(dataclasses.asdict(standing), indent=2) + "\n")
    partial.replace(folder / _STATE)


def _started(pid: int) -> int | None:
    """When a process was started; None if there is none, or only its exit code is left."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # "1234 (name, which may hold anything) S 1 ...": fields 3 and 22 of proc(5).
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
