"""Writes the tables of docs/operators.md that say what the code says: fields, codes, reasons.

Run it with ``make docs`` after a change; a test holds the page to it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from oracle import config, policy
from oracle.config import NodeConfig, project_root
from oracle.errors import OracleError
from oracle.policy import PASSING, Reason

PAGE = project_root() / "docs" / "operators.md"
_COMMENT = re.compile(r"\s*#: ?(.*)")


def render(page: str) -> str:
    """The page with its generated tables."""
    for name, rows in (("fields", _fields()), ("reasons", _reasons()), ("codes", _codes())):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        if not rest or not tail:
            raise SystemExit(f"{PAGE} has no {begin} ... {end}")
        page = "\n".join((head + begin, *rows, end + tail))
    return page


def _fields() -> Iterator[str]:
    yield "| field | unless said otherwise | |"
    yield "|---|---|---|"
    names: list[str] = []
    text = ""
    for name, comment in _commented(Path(config.__file__), "NodeConfig"):
        if comment and names:
            yield _field_row(names, text)
            names = []
        names.append(name)
        text = comment or text
    yield _field_row(names, text)


def _field_row(names: list[str], text: str) -> str:
    defaults = [_default(name) for name in names]
    return f"| {', '.join(f'`{name}`' for name in names)} | {', '.join(filter(None, defaults))} | {text} |"


def _default(name: str) -> str:
    field = NodeConfig.model_fields[name]
    if field.is_required():
        return "required"
    value = field.get_default()
    if value is None or value == ():
        return ""
    return f"{value:_}" if isinstance(value, int) else str(value)


def _reasons() -> Iterator[str]:
    yield "| reason | looked at again | |"
    yield "|---|---|---|"
    comments = dict(_commented(Path(policy.__file__), "Reason"))
    for reason in Reason:
        again = "yes" if reason in PASSING else "at a start"
        yield f"| `{reason}` | {again} | {comments[reason.name]} |"


def _codes() -> Iterator[str]:
    yield "| code | exit | may pass by itself | |"
    yield "|---|---|---|---|"
    for error in _tree(OracleError):
        passing = "yes" if error.transient else ""
        meaning = (error.__doc__ or "").splitlines()[0]
        yield f"| `{error.code}` | {error.exit_code} | {passing} | {meaning} |"


def _tree(root: type[OracleError]) -> Iterator[type[OracleError]]:
    # Only the program's own: tests make more.
    if root.__module__ == OracleError.__module__:
        yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def _commented(path: Path, class_name: str) -> Iterator[tuple[str, str]]:
    """The fields of a class with the ``#:`` comment above each, empty where there is none."""
    source = path.read_text()
    lines = source.splitlines()
    (found,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == class_name
    )
    for node in found.body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0] if isinstance(node.targets[0], ast.Name) else None
        if isinstance(target, ast.Name) and target.id != "model_config":
            yield target.id, " ".join(_above(lines, node.lineno - 2))


def _above(lines: list[str], index: int) -> list[str]:
    comment: list[str] = []
    while (match := _COMMENT.fullmatch(lines[index])) is not None:
        comment.insert(0, match.group(1))
        index -= 1
    return comment


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
