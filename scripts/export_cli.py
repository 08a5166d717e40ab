"""Write ``docs/cli.md``: commands, exit codes, error codes and causes, from what the program says.

Run after changing a command, an error or a cause: ``python scripts/export_cli.py``. A test
compares it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oracle import errors
from oracle.cli.main import DOORS, opened
from oracle.config import project_root
from oracle.errors import OracleError
from oracle.why import report
from oracle.why.report import Cause

_HEAD = """<!-- Written by scripts/export_cli.py. Change the program's texts, then run: make cli-docs -->

# The command line

Results go to stdout, everything else to stderr: `oracle result ID > answer.txt` holds the answer
alone. `--json` prints one JSON value on stdout, for scripts. Colours and spinners appear on a
terminal only; `NO_COLOR=1` turns colours off. Nothing asks questions.

An error is one line on stderr, `CODE: what happened. What to do.`, and an exit code. Codes never
change their meaning; match on them.

Commands that need a chain take it from `--rpc`, by default a devnet's, and the oracle's address
from `deployments/<chain id>.json`, unless `--oracle` says otherwise. Give `--chain-id` as well where
money is at stake: the command then refuses an endpoint that serves another chain.

`oracle --install-completion` teaches your shell to complete commands and options;
`oracle --show-completion` prints what it would install.
"""


def docs_path() -> Path:
    """Where the page lies."""
    return project_root() / "docs" / "cli.md"


def page() -> str:
    """The page as it should be."""
    parts = (_HEAD, _commands(), _exit_codes(), _error_codes(), _causes())
    return "\n".join(parts)


def tree(root: type[OracleError] = OracleError) -> Iterator[type[OracleError]]:
    """Every error of `oracle.errors`, parents first."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def meanings() -> dict[Cause, str]:
    """What the source says above each cause."""
    source = Path(report.__file__).read_text()
    body = source[source.index("class Cause(") :]
    found = re.findall(r"((?:    #: .*\n)+)    (\w+) = auto\(\)", body)
    return {
        Cause[name]: " ".join(line.strip()[3:] for line in text.splitlines())
        for text, name in found
    }


def _commands() -> str:
    lines = ["## Commands", ""]
    for name in DOORS:
        lines += _command(opened(name), f"oracle {name}")
    return "\n".join(lines)


def _command(command: Any, path: str) -> list[str]:
    if hasattr(command, "commands"):
        return [
            line
            for name, below in command.commands.items()
            for line in _command(below, f"{path} {name}")
        ]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([path, *(_argument(each) for each in arguments)])
    lines = [f"### `{usage}`", "", *_prose(command.help), ""]
    lines += [f"- `{_argument(each)}`: {_line(each.help)}" for each in arguments]
    lines += [f"- {_option(each)}: {_line(each.help)}" for each in options if each.name != "help"]
    commands = [line.strip() for line in (command.epilog or "").splitlines()[2:]]
    lines += ["", "```sh", *commands, "```", ""] if commands else [""]
    return lines


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if option.required:
        return f"{names} (required)"
    default = getattr(option.default, "value", option.default)
    return names if default in (None, False, ()) else f"{names} (default `{default}`)"


def _prose(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n")]


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _exit_codes() -> str:
    branches: list[type[OracleError]] = [
        OracleError,
        *(each for each in tree() if each.__base__ is OracleError),
    ]
    rows = [f"| {each.exit_code} | {_line(each.__doc__)} | {_below(each)} |" for each in branches]
    return "\n".join(
        (
            "## Exit codes",
            "",
            "| exit | meaning | codes |",
            "|---|---|---|",
            "| 0 | Done. | |",
            *rows,
            "| 130, 143 | Interrupted by Ctrl-C, or by SIGTERM. | |",
            "",
            "`oracle demo` exits with 1 if an answer is wrong or an attack was not rejected.",
            "",
        )
    )


def _below(branch: type[OracleError]) -> str:
    if branch is OracleError:
        return "`ORACLE`"
    return ", ".join(f"`{each.code}`" for each in tree(branch))


def _error_codes() -> str:
    rows = [
        f"| `{each.code}` | {each.exit_code} | {_line(each.__doc__)} | "
        f"{'yes' if each.transient else ''} |"
        for each in sorted(tree(), key=lambda error: error.code)
    ]
    return "\n".join(
        (
            "## Error codes",
            "",
            "The line that a command or a log prints names the remedy for the case at hand. The last",
            "column says whether the same call may succeed later without anything being changed.",
            "",
            "| code | exit | meaning | may pass |",
            "|---|---|---|---|",
            *rows,
            "",
        )
    )


def _causes() -> str:
    rows = [f"| `{cause.value}` | {text} |" for cause, text in meanings().items()]
    return "\n".join(
        (
            "## Causes that `oracle why` names",
            "",
            "`cause` in its JSON; with it come `explanation`, `remedy`, `commands` and `steps`.",
            "",
            "| cause | meaning |",
            "|---|---|",
            *rows,
            "",
        )
    )


def main() -> None:
    docs_path().write_text(page())


if __name__ == "__main__":
    main()
