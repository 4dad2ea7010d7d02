"""Why nobody can listen there is told with the remedy for just that."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from app.settings.listening import port_problems


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)),
            "Port 80 on 10.0.0.7 cannot be used (address already in use): stop what listens there, "
            "or set --port to a free one.",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)),
            "10.0.0.7 is no address of this machine (cannot assign requested address): set "
            "ONHAND_WEB_HOST to one that it has, or to 0.0.0.0 for all.",
        ),
        (
            socket.gaierror(-2, "Name or service not known"),
            "10.0.0.7 is no address of this machine (name or service not known): set "
            "ONHAND_WEB_HOST to one that it has, or to 0.0.0.0 for all.",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
            "Port 80 on 10.0.0.7 is not for this user (permission denied): set --port to 1024 or "
            "above.",
        ),
    ],
)
def test_the_remedy_is_that_of_the_cause(
    error: OSError, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise error

    monkeypatch.setattr(socket.socket, "bind", refuse, raising=False)

    assert port_problems("10.0.0.7", 80, "--port") == [told]
