"""The daemon's services: each has one idempotent `step`, and they meet only in the store."""
