"""Whether a process can listen where it was told to, asked before it does anything else."""

from __future__ import annotations

import errno
import socket

from core.words import in_words


def port_problems(host: str, port: int, named_by: str = "ONHAND_WEB_PORT") -> list[str]:
    """A sentence if nobody can listen there: what to do depends on why not.

    Args:
        host: name or address of an interface.
        port: 1 to 65535.
        named_by: the setting or option that says the port.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            return [
                f"{host} is no address of this machine ({in_words(error)}): set ONHAND_WEB_HOST to "
                "one that it has, or to 0.0.0.0 for all."
            ]
        if error.errno in (errno.EACCES, errno.EPERM):
            return [
                f"Port {port} on {host} is not for this user ({in_words(error)}): set {named_by} "
                "to 1024 or above."
            ]
        return [
            f"Port {port} on {host} cannot be used ({in_words(error)}): stop what listens there, "
            f"or set {named_by} to a free one."
        ]
    return []
