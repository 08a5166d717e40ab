"""The node's ledger on disk."""
