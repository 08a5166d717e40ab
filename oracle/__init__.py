"""Verifiable inference on chain: circuits, contracts' Python face, and the node."""

__version__ = "0.1.0"
