"""What of a configuration a running node takes up anew, and what only a start does. Pure."""

from __future__ import annotations

from oracle.config import NodeConfig

#: Terms: what the operator asks of a request and keeps in reserve.
TERMS = frozenset(
    {
        "min_income",
        "subsidy_per_request",
        "max_open_per_account",
        "only_accounts",
        "refused_accounts",
        "min_balance",
        "min_disk_bytes",
        "min_memory_bytes",
        "priority_fee",
    }
)
#: Endpoints, and how they are asked.
ENDPOINTS = frozenset(
    {"rpc_urls", "rpc_timeout", "rpc_requests_per_second", "rpc_burst", "log_cross_check"}
)
RELOADABLE = TERMS | ENDPOINTS


def changes(old: NodeConfig, new: NodeConfig) -> tuple[list[str], list[str]]:
    """The fields that differ: those that are taken up, and those that need a start."""
    differing = [
        name for name in NodeConfig.model_fields if getattr(old, name) != getattr(new, name)
    ]
    return (
        [name for name in differing if name in RELOADABLE],
        [name for name in differing if name not in RELOADABLE],
    )


def merged(old: NodeConfig, new: NodeConfig) -> NodeConfig:
    """The old configuration with what may be taken up of the new one."""
    return old.model_copy(update={name: getattr(new, name) for name in RELOADABLE})
