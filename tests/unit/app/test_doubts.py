"""What a process says of settings with which it starts all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import PREFIX, Settings
from app.settings.doubts import doubts_about
from tests.support.http.certificates import Authority, CertificateFiles


def doubts(**variables: object) -> list[str]:
    given = {PREFIX + name: str(value) for name, value in variables.items()}
    return list(doubts_about(Settings.from_env(given)))


def made(path: Path, mode: int) -> Path:
    path.write_text("sign\n" + "5" * 64)
    path.chmod(mode)
    return path


def test_of_the_settings_of_one_machine_nothing_is_said() -> None:
    assert doubts() == []


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o444])
def test_a_secret_that_everybody_on_the_machine_may_read_is_told(tmp_path: Path, mode: int) -> None:
    peers = made(tmp_path / "peers", mode)

    assert doubts(PEER_SECRET=peers) == [
        "The file of ONHAND_PEER_SECRET can be read by every user of this machine: "
        f"`chmod o-r {peers}`."
    ]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_one_that_its_user_or_group_alone_may_read_is_not(tmp_path: Path, mode: int) -> None:
    assert doubts(PEER_SECRET=made(tmp_path / "peers", mode)) == []


def test_tokens_may_be_read_by_all_but_not_changed_by_all(tmp_path: Path) -> None:
    peers, tokens = made(tmp_path / "peers", 0o600), made(tmp_path / "tokens.json", 0o644)
    assert doubts(TOKENS=tokens, PEER_SECRET=peers) == []

    tokens.chmod(0o646)

    assert doubts(TOKENS=tokens, PEER_SECRET=peers) == [
        f"The file of ONHAND_TOKENS can be changed by every user of this machine: "
        f"`chmod o-w {tokens}`."
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "stock-1.internal"])
def test_a_port_that_others_reach_without_tokens_is_told(tmp_path: Path, host: str) -> None:
    (told,) = doubts(WEB_HOST=host, URL="http://stock-1.internal")
    peers, tokens = made(tmp_path / "peers", 0o600), made(tmp_path / "tokens.json", 0o600)

    assert told.startswith(f"Everybody who reaches {host} may do everything: set ONHAND_TOKENS ")
    assert doubts(WEB_HOST=host, URL="http://x", TOKENS=tokens, PEER_SECRET=peers) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_one_that_only_this_machine_reaches_is_not(host: str) -> None:
    assert doubts(WEB_HOST=host) == []


def test_a_certificate_that_other_workers_would_not_believe_is_told(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path)
    files.key.chmod(0o600)
    mine = {name.removeprefix(PREFIX): value for name, value in files.settings().items()}
    assert doubts(**mine, URL="https://localhost:6066") == []

    (named,) = doubts(**mine, URL="https://stock-1.internal:6066")
    files.ca.write_bytes(Authority("Another one").pem)
    (signed,) = doubts(**mine, URL="https://localhost:6066")

    assert named.startswith("Other workers will not believe that this one is stock-1.internal (")
    assert "mismatch" in named
    assert signed.startswith("Other workers will not believe that this one is localhost (")
    settings = Settings.from_env({PREFIX + name: value for name, value in mine.items()})
    assert list(doubts_about(settings, is_asked=False)) == []  # of a bridge
