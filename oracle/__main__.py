"""``python -m oracle`` is the ``oracle`` command."""

from oracle.cli.main import run

run()
