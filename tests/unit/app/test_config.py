import asyncio
import ssl
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import make_url

from app.config import PREFIX, Settings, SettingsError
from dev.workers import ROOT
from ledger.engine import as_told
from tests.support.http.certificates import CertificateFiles, a_key, in_pem


def problems(**variables: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({PREFIX + name: value for name, value in variables.items()})
    assert str(error.value).splitlines() == error.value.problems
    return error.value.problems


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_env({})

    assert settings.group == "onhand-v1"
    assert settings.changelog_topic == "onhand-v1-inventory-changelog"
    assert settings.dlq_topic == "onhand-v1-dlq"
    assert settings.replayed_topic == "onhand-replayed"
    assert settings.members_topic == "onhand-members"
    assert settings.transactional_id(7) == "onhand-v1-inventory-7"
    assert settings.url == "http://127.0.0.1:6066"


def test_the_version_is_in_every_name_that_holds_state() -> None:
    one, two = (Settings.from_env({"ONHAND_VERSION": v, "ONHAND_NAME": "x"}) for v in "12")

    for name in ("group", "changelog_topic", "dlq_topic"):
        assert getattr(one, name) != getattr(two, name)
    assert one.transactional_id(0) != two.transactional_id(0)
    assert (one.replayed_topic, one.members_topic) == (two.replayed_topic, two.members_topic)


def test_the_prefix_goes_before_the_sources_only() -> None:
    settings = Settings.from_env({"ONHAND_TOPIC_PREFIX": "eu."})

    assert settings.source_topics == {
        "shipments": "eu.shipments",
        "sales": "eu.sales",
        "adjustments": "eu.adjustments",
    }
    assert settings.dlq_topic == "onhand-v1-dlq"


def test_an_option_beats_its_variable_and_no_option_leaves_it() -> None:
    environ = {"ONHAND_WEB_PORT": "7000", "ONHAND_KAFKA": "a:1"}

    settings = Settings.from_env(environ, web_port=8000, kafka=None)

    assert (settings.web_port, settings.kafka) == (8000, "a:1")


def test_all_problems_are_told_at_once_each_with_its_remedy() -> None:
    told = problems(
        KAFKA="broker", PARTITIONS="0", STORE="postgres", NAME="my shop", URL="10.0.0.7"
    )

    assert told == [
        "ONHAND_KAFKA is 'broker': use HOST:PORT, several joined by commas.",
        "ONHAND_NAME is 'my shop': use at most 100 letters, digits, dots, underscores and hyphens.",
        "ONHAND_PARTITIONS is '0': use a whole number from 1 to 10000.",
        "ONHAND_STORE is 'postgres': use one of rocksdb, memory.",
        "ONHAND_URL is '10.0.0.7': use http://HOST:PORT without a path, as other workers reach "
        "this one.",
    ]


@pytest.mark.parametrize("value", ["12.0", "１２", "1e3", "twelve", "-1", "99999999999999999999"])
def test_a_number_is_plain_digits_in_its_range(value: str) -> None:
    assert len(problems(PARTITIONS=value)) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_wildcard_host_needs_to_be_told_how_others_reach_it(host: str) -> None:
    assert "set ONHAND_URL" in problems(WEB_HOST=host)[0]

    settings = Settings.from_env({"ONHAND_WEB_HOST": host, "ONHAND_URL": "http://10.0.0.7:6066/"})

    assert settings.url == "http://10.0.0.7:6066"


def test_an_address_of_ipv6_is_bracketed_in_the_url() -> None:
    assert Settings.from_env({"ONHAND_WEB_HOST": "::1"}).url == "http://[::1]:6066"


def test_a_misspelt_name_is_not_silently_the_default() -> None:
    assert problems(PARTITION="48") == [
        "ONHAND_PARTITION is not a setting: did you mean ONHAND_PARTITIONS?"
    ]


def test_what_kubernetes_puts_beside_a_service_called_onhand_is_no_setting() -> None:
    injected = {
        "ONHAND_PORT": "tcp://10.0.0.1:6066",
        "ONHAND_SERVICE_HOST": "10.0.0.1",
        "ONHAND_SERVICE_PORT": "6066",
        "ONHAND_WEB_SERVICE_PORT": "6066",
        "ONHAND_PORT_6066_TCP_ADDR": "10.0.0.1",
    }
    assert Settings.from_env(injected) == Settings.from_env({})


def test_half_a_login_is_refused() -> None:
    assert "also set" in problems(KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_USERNAME="u")[0]
    assert "would not be sent" in problems(KAFKA_SASL_PASSWORD="p")[0]


def test_a_certificate_is_refused_where_it_would_not_be_used(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    pem.touch()
    assert "would not be used" in problems(KAFKA_SSL_CAFILE=str(pem))[0]
    assert "no such file" in problems(KAFKA_SSL_CAFILE=str(tmp_path / "no.pem"))[0]


def test_a_certificate_and_its_key_are_set_both_or_neither(tmp_path: Path) -> None:
    pem = tmp_path / "some.pem"
    pem.touch()

    assert problems(TLS_CERT=str(pem)) == [
        "ONHAND_TLS_CERT is set without ONHAND_TLS_KEY: set both, or neither."
    ]
    assert problems(TLS_KEY=str(pem)) == [
        "ONHAND_TLS_KEY is set without ONHAND_TLS_CERT: set both, or neither."
    ]
    with_both = {"ONHAND_TLS_CERT": str(pem), "ONHAND_TLS_KEY": str(pem)}
    assert Settings.from_env(with_both).url == "https://127.0.0.1:6066"


def test_a_worker_that_speaks_tls_is_not_announced_as_plain(tmp_path: Path) -> None:
    pem = tmp_path / "some.pem"
    pem.touch()

    assert problems(TLS_CERT=str(pem), TLS_KEY=str(pem), URL="http://stock-1:6066") == [
        "ONHAND_URL is http://stock-1:6066, and with ONHAND_TLS_CERT this process speaks TLS: "
        "begin it with https://."
    ]


def test_a_key_that_stands_where_its_file_belongs_is_not_quoted() -> None:
    told = problems(TLS_CERT=__file__, TLS_KEY="-----BEGIN PRIVATE KEY-----")

    assert told[0] == (
        "ONHAND_TLS_KEY is set: there is no such file; docs/security.md says how to make one."
    )


_OF_FILES = (
    *("TOKENS", "PEER_SECRET", "TLS_CERT", "TLS_KEY", "TLS_CA", "ALERTS", "ALERTS_SECRET"),
    *("KAFKA_SASL_TOKEN_FILE", "KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"),
    *("BRIDGE_MAP", "BRIDGE_SCHEMAS"),
)


@pytest.mark.parametrize("name", _OF_FILES)
@pytest.mark.parametrize(
    "content", ["eyJhbGciOi." * 100, "-----BEGIN PRIVATE KEY-----\nMIG/\n" * 9]
)
def test_what_a_file_should_hold_is_not_quoted_however_long_it_is(name: str, content: str) -> None:
    told = [one for one in problems(**{name: content}) if f"ONHAND_{name} " in one]

    assert len(told) == 1
    assert told[0].startswith(f"ONHAND_{name} is set: there is no such ")
    assert content[:9] not in told[0]


@pytest.mark.parametrize("name", ["TOKENS", "TLS_KEY", "TLS_CA"])
def test_a_file_in_a_folder_that_this_user_may_not_enter_is_told_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_entry(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", no_entry)
    (told,) = problems(**{name: "/etc/ssl/private/one.pem"})

    assert told.startswith(f"ONHAND_{name} is ")
    assert told.endswith(
        ": it cannot be looked at (permission denied): let this user into its folder."
    )


def test_a_setting_that_is_wrong_is_not_also_called_absent(tmp_path: Path) -> None:
    file = tmp_path / "some"
    file.touch()

    assert problems(TOKENS=str(file), PEER_SECRET="nowhere") == [
        "ONHAND_PEER_SECRET is set: there is no such file; docs/security.md says how to make it."
    ]
    assert len(problems(TLS_CERT="nowhere", TLS_KEY=str(file))) == 1
    assert len(problems(WEB_PORT="x", TLS_KEY=str(file))) == 2


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("URL", "https://ann:secret@stock-1", "'https://ann:***@stock-1'"),
        ("CORS_ORIGINS", "x" * 5000, "set"),
        ("NAME", "on\x1bhand", "set"),
        ("NAME", "on hand", "'on hand'"),
    ],
)
def test_a_wrong_value_is_quoted_if_it_is_short_and_without_its_password(
    name: str, value: str, shown: str
) -> None:
    (told,) = problems(**{name: value})

    assert told.startswith(f"ONHAND_{name} is {shown}: ")


def test_a_token_is_given_where_the_mechanism_sends_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc\n")
    sasl = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "oauthbearer"}

    assert "also set ONHAND_KAFKA_SASL_TOKEN_FILE" in problems(**sasl)[0]
    assert "would not be sent" in problems(KAFKA_SASL_TOKEN_FILE=str(file))[0]
    with_it = {**sasl, "KAFKA_SASL_TOKEN_FILE": str(file)}
    kwargs = Settings.from_env({PREFIX + k: v for k, v in with_it.items()}).client_kwargs()
    provider = kwargs["sasl_oauth_token_provider"]
    assert asyncio.run(provider.token()) == "abc"
    file.write_text("def")
    assert asyncio.run(provider.token()) == "def"
    assert "sasl_plain_password" not in kwargs


def test_a_clients_certificate_is_tried_before_the_start(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path)
    ssl_only = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": str(files.cert)}

    Settings.from_env(
        {PREFIX + k: v for k, v in ssl_only.items()}
        | {PREFIX + "KAFKA_SSL_KEYFILE": str(files.key)}
    )
    assert "set without ONHAND_KAFKA_SSL_CERTFILE" in problems(KAFKA_SSL_KEYFILE=str(files.key))[0]
    for key in (in_pem(a_key()), in_pem(a_key(), b"wrench"), b"nothing"):
        files.key.write_bytes(key)
        (told,) = problems(**ssl_only, KAFKA_SSL_KEYFILE=str(files.key))
        assert told.startswith("The files of ONHAND_KAFKA_SSL_… cannot be used (")
    assert "would not be used" in problems(KAFKA_SSL_CERTFILE=str(files.cert))[0]


def test_origins_are_as_browsers_write_them() -> None:
    settings = Settings.from_env(
        {"ONHAND_CORS_ORIGINS": "https://Shop.example:443/, http://127.0.0.1:3000,http://a:80"}
    )

    assert settings.cors_origins == "https://shop.example,http://127.0.0.1:3000,http://a"


@pytest.mark.parametrize(
    "given", ["*", "shop.example", "https://*.example", "https://a/page", "null", "https://a,,"]
)
def test_an_origin_is_named_whole(given: str) -> None:
    assert "name each origin whole, such as https://shop.example" in problems(CORS_ORIGINS=given)[0]


def test_clients_get_addresses_and_security() -> None:
    plain = Settings.from_env({"ONHAND_KAFKA": "a:9092, [::1]:9093"}).client_kwargs()
    assert plain == {"bootstrap_servers": "a:9092,[::1]:9093", "security_protocol": "PLAINTEXT"}

    secure = Settings.from_env(
        {
            "ONHAND_KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
            "ONHAND_KAFKA_SASL_MECHANISM": "scram-sha-512",
            "ONHAND_KAFKA_SASL_USERNAME": "u",
            "ONHAND_KAFKA_SASL_PASSWORD": "pa55word",
        }
    )
    kwargs = secure.client_kwargs()
    assert isinstance(kwargs.pop("ssl_context"), ssl.SSLContext)
    assert kwargs == {
        "bootstrap_servers": "localhost:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "pa55word",
    }
    assert "pa55word" not in repr(secure)


@pytest.mark.parametrize(
    ("field", "given", "shown"),
    [
        ("kafka_sasl_password", "geheim", "***"),
        ("bridge_registry_password", "geheim", "***"),
        ("alerts_url", "https://hooks.example/services/geheim", "***"),
        ("ledger_url", "postgresql+psycopg://u:geheim@db/l", "postgresql+psycopg://u:***@db/l"),
        (
            "ledger_url",
            "postgresql+psycopg://u@db/l?sslmode=require&password=geheim&sslpassword=geheim",
            "postgresql+psycopg://u@db/l?sslmode=require&password=***&sslpassword=***",
        ),
        ("bridge_registry", "http://u:geheim@registry:8081", "http://u:***@registry:8081"),
        ("tokens", "/etc/onhand/tokens.json", "/etc/onhand/tokens.json"),
    ],
)
def test_what_lets_somebody_in_is_not_shown(field: str, given: str, shown: str) -> None:
    settings = msgspec.structs.replace(Settings(), **{field: given})

    assert settings.shown()[field] == shown
    assert "geheim" not in repr(settings)
    assert list(settings.shown()) == list(Settings.__struct_fields__)


def test_a_database_is_told_without_its_password() -> None:
    given = "postgresql+psycopg://u:geheim@db/l?password=geheim"

    assert as_told(make_url(given)) == "postgresql+psycopg://u:***@db/l?password=***"


def test_env_example_lists_every_setting_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    listed = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    assert list(listed) == [PREFIX + field.upper() for field in Settings.__struct_fields__]
    assert Settings.from_env(listed) == Settings.from_env({})
    for name, value in listed.items():
        default = getattr(Settings(), name.removeprefix(PREFIX).lower())
        assert value == str(default) or (value, default) == ("./data", Path("data"))


def test_reading_the_settings_imports_neither_faust_nor_aiohttp() -> None:
    code = "import sys, app.config; sys.exit(any(m in sys.modules for m in ('faust', 'aiohttp')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    "url", ["http://a..b:80", "http://x:99999", "http://[zz]:1", "http://" + "a" * 64 + ".b:1"]
)
def test_an_address_that_no_worker_could_reach_is_refused(url: str) -> None:
    assert "use http://HOST:PORT" in problems(URL=url)[0]
