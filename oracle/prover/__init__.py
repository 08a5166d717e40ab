"""Proof jobs, each in a subprocess of its own."""
