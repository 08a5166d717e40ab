"""MkDocs' hooks: the site has every page of ``docs/`` and the README files of the repository.

A link between documents is written as the forge needs it, relative to the file that it stands in.
Here it is turned to where the site has the page, so that one spelling serves both.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

#: Documents outside of docs/, and their names in the site.
ELSEWHERE = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "deployments/README.md": "deployments.md",
    "contracts/README.md": "contracts-package.md",
}
_DOCS = "docs/"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages that the navigation does not name."""
    named = set(_named(config.nav))
    here = sorted(page.name for page in Path(config.docs_dir).glob("*.md"))
    config.nav = [*(config.nav or ()), *(name for name in here if name not in named)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents outside of docs/."""
    root = Path(config.docs_dir).parent
    for source, name in ELSEWHERE.items():
        files.append(File.generated(config, name, content=_titled(source, root)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links to other documents to their places in the site."""
    return resolved(markdown, source_of(page.file.src_uri))


def source_of(name: str) -> str:
    """Path in the repository of a page of the site."""
    places = {there: source for source, there in ELSEWHERE.items()}
    return places.get(name, _DOCS + name)


def resolved(markdown: str, source: str) -> str:
    """The text of `source` with its links as the site needs them; all pages lie side by side there.

    A link to a file that the site does not have stays as it is, and MkDocs complains of it.
    """

    def turned(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if target in ELSEWHERE:
            return ELSEWHERE[target] + (link[2] or "")
        if target.startswith(_DOCS):
            return target.removeprefix(_DOCS) + (link[2] or "")
        return link[0]

    return _LINK.sub(turned, markdown)


def _titled(source: str, root: Path) -> str:
    text = (root / source).read_text()
    # A folder's README may start without a heading: the forge shows the folder's name.
    return (
        text if text.startswith("# ") else f"# {posixpath.dirname(source).capitalize()}\n\n{text}"
    )


def _named(nav: Any) -> Iterator[str]:
    """File names in a navigation, whatever its depth."""
    for entry in nav or ():
        below = entry.values() if isinstance(entry, dict) else [entry]
        for each in below:
            if isinstance(each, str):
                yield each
            else:
                yield from _named(each)
