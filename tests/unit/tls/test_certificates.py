"""Which files are taken for TLS, and what is said of those that are not."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from app.access import tls_of
from app.config import Settings
from tests.support.http.certificates import Authority, CertificateFiles, a_key, in_pem
from web.access.certificates import Certificate, Tls, read_authorities, read_certificate
from web.access.watched import AccessError, WatchedFiles


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> CertificateFiles:
    return CertificateFiles(tmp_path, authority)


def watched(files: CertificateFiles) -> WatchedFiles[Certificate]:
    """Looked at with every question."""
    found = WatchedFiles((files.cert, files.key), lambda: read_certificate(files.cert, files.key))
    found.every_s = 0.0
    return found


def test_a_pair_is_taken_and_speaks_no_version_below_1_2(files: CertificateFiles) -> None:
    context, until = read_certificate(files.cert, files.key)

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert 29 < (until - files.cert.stat().st_mtime) / 86400 < 31


Spoil = Callable[[CertificateFiles], None]


def _another_key(files: CertificateFiles) -> None:
    files.key.write_bytes(in_pem(a_key()))


def _an_encrypted_key(files: CertificateFiles) -> None:
    key = a_key()
    cert, _ = files.authority.certificate(key=key)
    files.put(cert, in_pem(key, b"wrench"))


def _an_expired_one(files: CertificateFiles) -> None:
    files.put(*files.authority.certificate(days=(30, -1)))


def _one_of_tomorrow(files: CertificateFiles) -> None:
    files.put(*files.authority.certificate(days=(-1, 30)))


def _one_for_clients(files: CertificateFiles) -> None:
    files.put(*files.authority.certificate("till-17", client=True))


def _half_a_certificate(files: CertificateFiles) -> None:
    files.cert.write_bytes(files.cert.read_bytes()[:300])


def _a_broken_certificate(files: CertificateFiles) -> None:
    lines = files.cert.read_bytes().splitlines(keepends=True)
    files.cert.write_bytes(b"".join([lines[0], *lines[4:]]))


def _half_a_key(files: CertificateFiles) -> None:
    files.key.write_bytes(files.key.read_bytes()[:100])


def _the_files_the_other_way_round(files: CertificateFiles) -> None:
    files.put(files.key.read_bytes(), files.cert.read_bytes())


def _no_key(files: CertificateFiles) -> None:
    files.key.unlink()


SPOILT: dict[Spoil, str] = {
    _another_key: r"The key in \S+ is not that of the certificate in \S+: both must be of one make",
    _an_encrypted_key: r"is encrypted, and nobody is there to type its passphrase: keep it",
    _an_expired_one: r"The certificate in \S+ has expired: put a new one in its place\.",
    _one_of_tomorrow: r"The certificate in \S+ is not valid yet: look at this machine's clock\.",
    _one_for_clients: r"cannot be used \(unsuitable certificate purpose\): make another one\.",
    _half_a_certificate: r"cert.pem holds no certificate in PEM: ONHAND_TLS_CERT names another",
    _a_broken_certificate: r"cert.pem and \S+ cannot be used \(TLS failed: .+\): make them anew\.",
    _half_a_key: r"cert.pem and \S+ cannot be used \(TLS failed: .+\): make them anew\.",
    _the_files_the_other_way_round: r"cert.pem holds no certificate in PEM",
    _no_key: r"key.pem: it cannot be read \(No such file or directory\): let this user read it\.",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_used_is_refused_with_one_sentence(
    files: CertificateFiles, spoil: Spoil
) -> None:
    spoil(files)

    with pytest.raises(AccessError, match=SPOILT[spoil]) as refused:
        read_certificate(files.cert, files.key)

    assert "\n" not in str(refused.value)
    assert "wrench" not in str(refused.value)


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_used_changes_nothing_and_the_log_says_so(
    files: CertificateFiles, spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = watched(files)
    before = certificate.get()
    spoil(files)

    assert certificate.get() is before
    assert "What was known before goes on to hold." in caplog.text

    files.renew()
    assert certificate.get() is not before


def test_between_a_new_key_and_its_certificate_the_old_pair_holds(files: CertificateFiles) -> None:
    certificate = watched(files)
    before = certificate.get()
    cert, key = files.authority.certificate()

    files.key.write_bytes(key)
    assert certificate.get() is before
    files.cert.write_bytes(cert)
    assert certificate.get() is not before


def test_a_link_that_is_swapped_is_a_change(tmp_path: Path, authority: Authority) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        CertificateFiles(tmp_path / name, authority)
    mounted = tmp_path / "mounted"
    mounted.symlink_to("one")
    cert, key = mounted / "cert.pem", mounted / "key.pem"
    certificate = WatchedFiles((cert, key), lambda: read_certificate(cert, key))
    certificate.every_s = 0.0
    before = certificate.get()

    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(mounted)

    assert certificate.get() is not before


def test_the_log_says_once_that_a_certificate_ends_soon(
    files: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    files.put(*files.authority.certificate(days=(1, 3)))
    shown = Tls(watched(files)).server()
    assert shown is not None

    for _ in range(3):
        shown()

    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert said[0].startswith("The certificate of ONHAND_TLS_CERT ends on ")


def test_authorities_are_read_again_too(tmp_path: Path, authority: Authority) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    authorities = WatchedFiles((ca,), lambda: read_authorities(ca))
    authorities.every_s = 0.0
    tls = Tls(authorities=authorities)
    before = tls.client()
    assert len(before.get_ca_certs()) == 1

    ca.write_bytes(authority.pem + Authority().pem)

    assert len(tls.client().get_ca_certs()) == 2
    ca.write_bytes(b"nothing")
    assert len(tls.client().get_ca_certs()) == 2


def test_a_file_without_authorities_is_refused(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("hello")
    settings = Settings.from_env({"ONHAND_TLS_CA": str(ca)})

    with pytest.raises(AccessError, match="holds no certificate in PEM: ONHAND_TLS_CA names"):
        tls_of(settings)
