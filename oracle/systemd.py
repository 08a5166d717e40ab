"""Tells systemd how the service is doing (sd_notify(3)); nothing where systemd does not ask."""

from __future__ import annotations

import socket

from oracle.config import notify_socket


def notify(state: str) -> bool:
    """Send ``READY=1``, ``WATCHDOG=1`` or ``STOPPING=1``; whether there was somebody to tell.

    Raises:
        OSError: the socket that systemd named does not take it.
    """
    address = notify_socket()
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        # An abstract socket's name begins with a zero byte, written as @.
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        connection.sendall(state.encode())
    return True
