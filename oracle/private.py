"""Files that hold secrets: read only where nobody else can read them."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from oracle.errors import ConfigError

#: Bytes of the largest: an encrypted keystore has about 500.
_MAX_SIZE = 1 << 16


def read_private(path: Path, remedy: str) -> str:
    """Text of a file that nobody but its owner can read or write.

    Args:
        path: the file.
        remedy: what to do where it cannot be read.

    Raises:
        ConfigError: it cannot be read, others can read it, or it is no text.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise ConfigError(
                    f"{path} can be read by others",
                    remedy=f"Run: chmod 600 {shlex.quote(str(path))}",
                )
            return file.read(_MAX_SIZE).decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})", remedy=remedy) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file", remedy=remedy) from None
