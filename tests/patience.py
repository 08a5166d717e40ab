"""How long a test waits for what has to come: on a busy machine that is no measure of anything."""

from __future__ import annotations

#: Seconds after which it will never come. Less than pytest's own limit for a test.
PATIENCE = 120.0
