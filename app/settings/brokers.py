"""TLS to brokers, by the files that settings name. Loads no Kafka client: commands start fast."""

from __future__ import annotations

import ssl
from typing import NoReturn


def brokers_context(authorities: str, certificate: str, key: str) -> ssl.SSLContext:
    """For connections to brokers.

    Args:
        authorities: PEM file of who signed the brokers' certificates; empty: the system's.
        certificate: this client's own, if brokers ask for one; empty: none.
        key: its key; empty: it stands in the same file.

    Raises:
        OSError: a file cannot be used.
    """
    context = ssl.create_default_context(cafile=authorities or None)

    def no_passphrase() -> NoReturn:
        raise OSError("the key is encrypted, and nobody is there to type its passphrase")

    if certificate:
        context.load_cert_chain(certificate, key or None, password=no_passphrase)
    return context
