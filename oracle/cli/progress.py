"""What a person sees while something runs: on stderr, so that stdout carries results alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class ConsoleReport:
    """A line a step, with a spinner while it runs and the seconds that it took."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """See `oracle.demo.Report`."""
        started = time.monotonic()
        last = ""
        # Titles name files and details come from tools: they are no markup.
        shown = escape(title)

        with self._console.status(shown) as status:

            def detail(text: str) -> None:
                nonlocal last
                last = escape(text)
                status.update(f"{shown} [dim]{last}[/]")

            try:
                yield detail
            except BaseException:
                self._console.print(f"[red]✗[/] {shown}", soft_wrap=True)
                raise
        seconds = time.monotonic() - started
        self._console.print(
            f"[green]✓[/] [cyan]{seconds:4.1f} s[/]  {shown}  [dim]{last}[/]",
            highlight=False,
            soft_wrap=True,
        )


def report() -> ConsoleReport:
    """One that writes to stderr."""
    return ConsoleReport(Console(stderr=True))


@contextmanager
def waiting(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner that leaves nothing behind; what to call with the present state."""
    with Console(stderr=True).status(escape(title)) as status:
        yield lambda text: status.update(f"{escape(title)} [dim]{escape(text)}[/]")
