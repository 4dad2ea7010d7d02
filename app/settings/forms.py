"""How the text of a setting becomes its value: a function each, which raises ValueError.

The error's text says what to write instead; it follows the name of the setting.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from core.words import in_words, without_password

#: A value that is longer is quoted in no message: it may be what its file should hold.
_QUOTED_CHARS = 200


def shown_setting(text: str) -> str:
    """The text of a setting as a sentence may quote it, or that it is set."""
    if len(text) > _QUOTED_CHARS or not text.isprintable():
        return "set"
    return repr(without_password(text))


def whole(least: int, most: int) -> Callable[[str], int]:
    """A number of that range, bounds included."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"use a whole number from {least} to {most}")
        return int(text)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words, in letters of any case; returned as it stands here."""

    def read(text: str) -> str:
        for word in words:
            if text.lower() == word.lower():
                return word
        raise ValueError(f"use one of {', '.join(words)}")

    return read


def servers(text: str) -> str:
    """Of Kafka."""
    named = [server.strip() for server in text.split(",")]
    for server in named:
        match = re.fullmatch(r"([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", server)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError("use HOST:PORT, several joined by commas")
    return ",".join(named)


def like(pattern: str, remedy: str) -> Callable[[str], str]:
    """What a regular expression takes whole."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(remedy)
        return text

    return read


topic_part = like(
    r"[a-zA-Z0-9._-]{1,100}",
    "use at most 100 letters, digits, dots, underscores and hyphens",
)
topic_name = like(r"[a-zA-Z0-9._-]{1,249}", "use the name of a topic")
database = like(
    r"(sqlite:///|postgresql(\+psycopg)?://)\S+",
    "use sqlite:///PATH/ledger.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
)
interface = like(r"[\w.:%-]+", "use the name or address of an interface, such as 127.0.0.1")
registry = like(
    r"https?://[^\s/?#@]+(/[^\s?#@]*)?",
    "use http://HOST:PORT, with a path if the registry has one; its user and password are "
    "ONHAND_BRIDGE_REGISTRY_USER and ONHAND_BRIDGE_REGISTRY_PASSWORD",
)

webhook = like(
    r"https?://[^\s/?#@]+(/[^\s#@]*)?",
    "use https://HOST/PATH, the address that is to be told, without a user: what is sent is signed",
)


def waits(text: str) -> str:
    """Of tries: seconds, which need not grow."""
    named = [one.strip() for one in text.split(",")]
    for one in named:
        if not re.fullmatch(r"[0-9]{1,6}", one):
            raise ValueError("use seconds, such as 5,300,1800: one wait for each further try")
    return ",".join(named)


_URL_REMEDY = "use http://HOST:PORT without a path, as other workers reach this one"


def url(text: str) -> str:
    """Of a worker; without the slash at its end."""
    if not re.fullmatch(r"https?://([^\s/:?#@\[\]]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?/?", text):
        raise ValueError(_URL_REMEDY)
    try:
        parts = urlsplit(text)
        (parts.hostname or "").encode("idna")  # what every look-up of the name begins with
        if parts.port == 0:
            raise ValueError
    except ValueError:  # a port above 65,535, an address in brackets that is none
        raise ValueError(_URL_REMEDY) from None
    return text.rstrip("/")


def origins(text: str) -> str:
    """Of pages, as browsers write them: without a slash, and without the port that goes unsaid."""
    named = []
    for one in text.lower().split(","):
        match = re.fullmatch(
            r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?", one.strip()
        )
        if match is None:
            raise ValueError(
                "name each origin whole, such as https://shop.example, several joined by commas; "
                "there is no wildcard"
            )
        scheme, host, port = match.groups(default="")
        unsaid = ":443" if scheme == "https" else ":80"
        named.append(f"{scheme}://{host}{'' if port == unsaid else port}")
    return ",".join(named)


def there(is_there: Callable[[Path], bool], remedy: str) -> Callable[[str], str]:
    """The path of what is there."""

    def read(text: str) -> str:
        try:
            found = is_there(Path(text))
        except OSError as error:
            # The system's own message quotes the text, which may be the secret itself: whoever
            # sets that in the place of its file has set a name that is too long for one.
            if error.errno != errno.ENAMETOOLONG:
                why = f"it cannot be looked at ({in_words(error)}): let this user into its folder"
                raise ValueError(why) from None
            found = False
        if not found:
            raise ValueError(f"there is no such {remedy}")
        return text

    return read


pem_file = there(Path.is_file, "file; use the path of a PEM file")
certificate_file = there(Path.is_file, "file; docs/security.md says how to make one")
secret_file = there(Path.is_file, "file; docs/security.md says how to make it")
