"""Whom a command asks: what is no address of a worker is told before anybody is asked."""

import pytest

from app.commands.running import workers_of


@pytest.mark.parametrize(
    "address",
    [
        *("localhost", "localhost:6066", "http://10.0.0.7:6066/", "https://[::1]:6066"),
        "https://shop.example/onhand",
    ],
)
def test_an_address_is_asked_as_it_was_named(address: str) -> None:
    assert workers_of((address, f" {address} ,")) == [address, address]


@pytest.mark.parametrize(
    "address",
    [
        *("ftp://localhost:6066", "http://", "http://u:p@localhost:6066"),
        *("localhost:6066?x=1", "localhost 6066", "kafka://localhost"),
    ],
)
def test_what_is_none_is_not_asked(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        workers_of((address,))

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"{address} is no address of a worker: use http://")
