"""The documents that people read, and what stands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from oracle.config import project_root

ROOT = project_root()
PAGES = sorted(
    [
        ROOT / "CONTRIBUTING.md",
        ROOT / "README.md",
        ROOT / "contracts" / "README.md",
        ROOT / "deployments" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines without comments, continued ones joined."""
        joined = self.text.replace("\\\n", " ")
        lines = (re.sub(r"\s+#.*|^#.*", "", line).strip() for line in joined.splitlines())
        return [re.sub(r"\s+", " ", line) for line in lines if line]


def blocks() -> list[Block]:
    return [
        Block(str(path.relative_to(ROOT)), language, text)
        for path in PAGES
        for language, text in _FENCE.findall(path.read_text())
    ]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", text)
