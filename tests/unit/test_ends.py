"""How the ``oracle`` command ends where nobody foresaw it."""

from __future__ import annotations

import signal

import pytest
import typer

from oracle.cli import main


def ended_by(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, where a sub-command raises ``error``."""
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr("sys.argv", ["oracle"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        main.run()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_run__end_of_a_file__is_not_taken_for_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EOFError, match="cut off"):
        ended_by(EOFError("cut off"), monkeypatch)
    assert "stopped" not in capsys.readouterr().err


def test_run__interrupted__says_so_with_the_shells_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ended_by(KeyboardInterrupt(), monkeypatch)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped\n"
