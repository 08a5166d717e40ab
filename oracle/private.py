"""An operator's files: secrets only where nobody else can read them, and nothing that is waited for."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path
from typing import BinaryIO

from oracle.errors import ConfigError

#: Bytes of the largest: an encrypted keystore has about 500.
_MAX_SIZE = 1 << 16


def open_plain(path: Path) -> BinaryIO:
    """Open a file to be read; pipes and devices are not waited for.

    Raises:
        OSError: it cannot be read, or is no plain file.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is not a plain file")


def make_folder(path: Path, contents: str) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        ConfigError: it cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder {path} cannot be made ({error.strerror})",
            remedy=f"Name another one for {contents}: one that is there, or that this user may make",
        ) from None


def read_private(path: Path, remedy: str) -> str:
    """Text of a file that nobody but its owner can read or write.

    Args:
        path: the file.
        remedy: what to do where it cannot be read.

    Raises:
        ConfigError: it cannot be read, others can read it, or it is no text.
    """
    try:
        with open_plain(path) as file:
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
