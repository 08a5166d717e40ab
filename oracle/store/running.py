"""Whether a node works on a ledger, seen from outside.

Nodes that share a store say in it that they live. Otherwise a running node holds a lock beside its SQLite file. The kernel lists who holds what, so looking
takes no lock itself: a node that starts at this moment is not in its way.
"""

from __future__ import annotations

from pathlib import Path

from oracle.errors import StoreError
from oracle.store.database import Location
from oracle.store.ledger import Store

_LOCKS = Path("/proc/locks")


def is_running(store: Store, location: Location) -> bool:
    """Whether a node works on the ``store`` that was opened at ``location``.

    Raises:
        StoreError: this system does not tell.
    """
    return is_in_use(location) if isinstance(location, Path) else bool(store.members())


def is_in_use(store: Path) -> bool:
    """Whether a process on this machine has the ledger at ``store`` open for writing.

    Raises:
        StoreError: this system does not tell.
    """
    try:
        inode = store.with_name(store.name + ".lock").stat().st_ino
    except FileNotFoundError:
        return False
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError as error:
        raise StoreError(
            f"{_LOCKS} cannot be read ({error.strerror})", remedy="Run this where the node runs"
        ) from None
    # "1: FLOCK  ADVISORY  WRITE 4242 fd:01:131081 0 EOF"; those who wait for it begin with "->".
    held = [words for line in lines if (words := line.split())[1:2] == ["FLOCK"]]
    return any(words[3] == "WRITE" and words[5].endswith(f":{inode}") for words in held)
