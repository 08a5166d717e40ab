"""Commands to be typed next, with the options that the one that proposes them was given.

A command that names a request or a model alone would look for it on the default chain, with nobody's
key: each is printed so that it can be pasted.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oracle.cli.chain import LOCAL
from oracle.errors import OracleError

#: What stands for an account that nobody has named.
_SOMEBODY = " --key-file KEY"
#: Commands that read a chain, by the words that they begin with.
_READING = (
    *("why", "result", "refund", "top-up", "retry", "withdraw", "deposit", "request"),
    *("model show", "model close", "model succeed"),
)
#: Of these, those that look a request up in the chain's logs.
_LOOKING = ("why", "result", "refund", "top-up", "retry")
#: Those that pay: whoever asked can.
_PAYING = ("refund", "top-up", "retry", "request", "model close", "model succeed")
#: Those that act for one account, which need not be whoever asked.
_OWN = ("withdraw", "deposit")


@dataclass(frozen=True, slots=True)
class Given:
    """The options that say where a command looks and who pays for it."""

    rpc: str = LOCAL
    chain_id: int | None = None
    oracle: str | None = None
    first_block: int | None = None
    key_file: Path | None = None
    keystore: Path | None = None
    password_file: Path | None = None

    def whole(self, command: str) -> str:
        """A command with all that it needs to find the same chain, oracle and account."""
        name = command.removeprefix("oracle ")
        if not name.startswith(_READING) or "--config" in command:
            # A node's configuration says where its chain is, and a devnet is its own.
            return command
        options: list[tuple[str, object]] = [
            ("--rpc", None if self.rpc == LOCAL else self.rpc),
            ("--chain-id", self.chain_id),
            ("--oracle", self.oracle),
        ]
        if name.startswith(_LOOKING):
            options.append(("--first-block", self.first_block))
        account = ""
        if name.startswith(_PAYING):
            account = self._account()
        elif name.startswith(_OWN):
            account = _SOMEBODY
        return command.replace(_SOMEBODY, "") + _written(options) + account

    def _account(self) -> str:
        named = [
            ("--key-file", self.key_file),
            ("--keystore", self.keystore),
            ("--password-file", self.password_file),
        ]
        return _written(named) or _SOMEBODY

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have the command that an error's remedy ends in be whole."""
        try:
            yield
        except OracleError as error:
            if error.command:
                error.ending_in(self.whole(error.command))
            raise


def typed(path: Path | str) -> str:
    """A path as one would type it here, in a shell."""
    here, whole = Path.cwd(), Path(path)
    return shlex.quote(str(whole.relative_to(here) if whole.is_relative_to(here) else whole))


def _written(options: list[tuple[str, object]] | list[tuple[str, Path | None]]) -> str:
    return "".join(
        f" {name} {shlex.quote(str(value))}" for name, value in options if value is not None
    )
