"""The site builds without a warning and without a network, and no link or anchor in it is dead."""

from __future__ import annotations

import itertools
import posixpath
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from scripts.docs_site import ELSEWHERE, resolved
from tests.docs.pages import PAGES, ROOT, prose

#: Builds like `make docs-site`; to look a name up or to open a connection is an error.
BUILD = """
import sys
def offline(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}:
        raise SystemExit(f"the build wanted the network: {event} {arguments}")
sys.addaudithook(offline)
from mkdocs.__main__ import cli
cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""
#: What a browser fetches by itself when it shows a page.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


@dataclass
class Shown(HTMLParser):
    """What a page links to, fetches and can be linked at."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and {"stylesheet", "icon", "preload"} & set(found["rel"].split()):
            self.fetched.append(found["href"])
        elif FETCHED.get(tag) in found:
            self.fetched.append(found[FETCHED[tag]])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The site's folder, and what the build said."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(built: tuple[Path, str]) -> dict[str, Shown]:
    """Every page by its path in the site."""
    folder, _ = built
    pages = {}
    for path in folder.rglob("*.html"):
        shown = Shown()
        shown.feed(path.read_text())
        pages[str(path.relative_to(folder))] = shown
    return pages


def is_outside(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def target_of(page: str, link: str) -> tuple[str, str]:
    """File in the site and anchor that a link of a page leads to."""
    parts = urlsplit(link)
    base = "" if parts.path.startswith("/") else posixpath.dirname(page)
    path = posixpath.normpath(posixpath.join(base, unquote(parts.path).lstrip("/")))
    if not parts.path:
        path = page
    return ("index.html" if path == "." else path), unquote(parts.fragment)


def test_build__strict__says_nothing_worth_a_warning(built: tuple[Path, str]) -> None:
    _, said = built
    assert not re.search(r"warning|deprecat", said, re.IGNORECASE), said


def test_site__has_every_document(site: dict[str, Shown]) -> None:
    sources = {str(path.relative_to(ROOT)) for path in PAGES}
    names = {ELSEWHERE.get(source, posixpath.basename(source)) for source in sources}
    assert {name.replace(".md", ".html") for name in names} | {"404.html"} == set(site)


def test_site__every_page__can_be_reached_from_the_first_one(site: dict[str, Shown]) -> None:
    linked = {target_of("index.html", link)[0] for link in site["index.html"].links}
    assert set(site) - {"404.html", "index.html"} <= linked


def test_site__links_within__lead_to_a_file_and_an_anchor(
    site: dict[str, Shown], built: tuple[Path, str]
) -> None:
    folder, _ = built
    dead = []
    checked = 0
    for page, shown in site.items():
        for link in filter(None, shown.links):
            if is_outside(link):
                continue
            path, anchor = target_of(page, link)
            known = site[path].anchors if path in site else set()
            checked += 1
            if not (folder / path).is_file() or (anchor and anchor not in known):
                dead.append((page, link))
    assert not dead
    assert checked > 500


def test_site__links_to_outside__are_https(site: dict[str, Shown]) -> None:
    outside = {link for shown in site.values() for link in shown.links if is_outside(link)}
    assert "https://github.com/zkonduit/ezkl" in outside
    assert {urlsplit(link).scheme for link in outside} == {"https"}


def test_site__no_page_or_style__fetches_anything_from_outside(
    site: dict[str, Shown], built: tuple[Path, str]
) -> None:
    folder, _ = built
    for page, shown in site.items():
        assert shown.fetched
        for asset in shown.fetched:
            assert not is_outside(asset), (page, asset)
            assert (folder / target_of(page, asset)[0]).is_file(), (page, asset)
    styles = [*folder.rglob("*.css")]
    assert len(styles) > 2
    for style in styles:
        for url in re.findall(r"url\(['\"]?([^'\")]+)", style.read_text()):
            assert url.startswith("data:") or not is_outside(url), (style, url)
        assert "@import" not in style.read_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_document__links_on_the_forge__lead_to_a_file_and_a_heading(path: Path) -> None:
    text = prose(path.read_text())
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    links += re.findall(r"<(?:img|a)[^>]+(?:src|href)=\"([^\"]+)\"", text)
    for link in links:
        if is_outside(link):
            assert urlsplit(link).scheme == "https", link
            continue
        parts = urlsplit(link)
        target = (path.parent / parts.path).resolve() if parts.path else path
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in headings(target.read_text()), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_document__lists_and_tables__are_read_as_such_by_the_site(path: Path) -> None:
    """The forge takes a list or a table right after a line of text for one; the site does not."""
    lines = prose(path.read_text()).splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"(- |\d+\. )", line):
            assert not before or re.match(r"(- |\d+\. | )", before), line
        if line.startswith("|"):
            assert not before or before.startswith(("|", "<!--")), line


def headings(markdown: str) -> set[str]:
    """Anchors that a forge gives to the headings."""
    found = re.findall(r"^#+ (.*)$", prose(markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize(
    ("source", "written", "turned"),
    [
        ("README.md", "[a](docs/audit.md#trust)", "[a](audit.md#trust)"),
        ("README.md", "![a](docs/flow.svg)", "![a](flow.svg)"),
        ("README.md", "[a](deployments/README.md)", "[a](deployments.md)"),
        ("docs/index.md", "[a](../README.md#layout)", "[a](readme.md#layout)"),
        ("docs/index.md", "[a](audit.md)", "[a](audit.md)"),
        ("docs/index.md", "[a](#here)", "[a](#here)"),
        ("docs/index.md", "[a](https://b.org/README.md)", "[a](https://b.org/README.md)"),
        ("docs/index.md", "[a](../Makefile)", "[a](../Makefile)"),
    ],
)
def test_links__of_the_forge__become_the_sites(source: str, written: str, turned: str) -> None:
    assert resolved(written, source) == turned
