"""Certificates for tests, and an authority that signs them."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey
_DAY = datetime.timedelta(days=1)
HERE = ("localhost", "127.0.0.1")


def a_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _also(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def in_pem(key: Key, passphrase: bytes = b"") -> bytes:
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        locked or serialization.NoEncryption(),
    )


class Authority:
    """Signs certificates; whoever has `pem` believes them."""

    def __init__(self, name: str = "Onhand's tests") -> None:
        self._name, self._key = _name(name), a_key()
        made = self._begun(self._name, self._key, 1, 365)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.pem = self._signed(made, key_cert_sign=True)

    def certificate(
        self,
        *names: str,
        key: Key | None = None,
        days: tuple[int, int] = (1, 30),
        client: bool = False,
    ) -> tuple[bytes, bytes]:
        """Certificate and key in PEM.

        Args:
            names: hosts and addresses; none: this machine.
            key: whose; None: a new one.
            days: since it is good, and until.
            client: for a client, and of this name.
        """
        names, key = names or HERE, key or a_key()
        made = self._begun(_name(names[0]), key, *days)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        made = (
            made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(list(map(_also, names))), critical=False)
        )
        return self._signed(made), in_pem(key)

    def trusted(self) -> ssl.SSLContext:
        """For clients."""
        return ssl.create_default_context(cadata=self.pem.decode())

    def _begun(self, name: x509.Name, key: Key, ago: int, ahead: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - ago * _DAY)
            .not_valid_after(now + ahead * _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )

    def _signed(self, made: x509.CertificateBuilder, *, key_cert_sign: bool = False) -> bytes:
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=key_cert_sign,
            crl_sign=key_cert_sign,
            encipher_only=False,
            decipher_only=False,
        )
        signed = made.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


class CertificateFiles:
    """What ONHAND_TLS_… name, in a folder; put in place as careful operators do, at once."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self.authority = authority or Authority()
        self.cert, self.key, self.ca = (folder / f"{name}.pem" for name in ("cert", "key", "ca"))
        self.ca.write_bytes(self.authority.pem)
        self.renew()

    def renew(self, *names: str) -> bytes:
        """A new pair; the certificate."""
        cert, key = self.authority.certificate(*names)
        self.put(cert, key)
        return cert

    def put(self, cert: bytes, key: bytes) -> None:
        self.key.write_bytes(key)
        self.cert.write_bytes(cert)

    def settings(self) -> dict[str, str]:
        return {
            "ONHAND_TLS_CERT": str(self.cert),
            "ONHAND_TLS_KEY": str(self.key),
            "ONHAND_TLS_CA": str(self.ca),
        }
