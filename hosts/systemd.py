"""What systemd is told of a service of `Type=notify` (sd_notify(3)), with the standard library."""

import os
import socket


def notify(state: str) -> None:
    """Tell systemd, where it started this as a `Type=notify` service (sd_notify(3)). Nobody is told
    otherwise, and one who does not listen is none of our trouble."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    where = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(state.encode(), where)
    except OSError:
        return
