"""What went wrong, in words for a person: no number of an error, no class, no Python.

Kafka's errors are known by their name alone, so that the `onhand` command, which asks
workers by HTTP, need not import a Kafka client for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from typing import Final

#: Of Kafka's errors, where the name alone says too little.
_KAFKA: Final = {
    "KafkaConnectionError": "no connection to Kafka",
    "KafkaTimeoutError": "Kafka gave no answer in time",
    "NodeNotReadyError": "no connection to the broker",
    "RequestTimedOutError": "Kafka gave no answer in time",
}
_NUMBERS: Final = re.compile(r"\[(?:Errno|Error) -?\d+\] *|\(_ssl\.c:\d+\)")
_PASSWORD: Final = re.compile(r"(://[^:/@]*):[^@]*@")
#: In the query of an address, as drivers of databases take it.
_PASSWORD_ASKED: Final = re.compile(r"([?&][^=&#]*(?:pass|secret|token)[^=&#]*=)[^&#]*", re.I)
_PART_OF_A_NAME: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+")


def without_password(url: str) -> str:
    """An address as it may be told: without a password, wherever it stands in it."""
    return _PASSWORD_ASKED.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def in_words(error: BaseException) -> str:
    """A few words, to stand in brackets or behind a colon; no full stop.

    Of what nobody foresaw the type is named: whoever reports it needs it.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    name = type(error).__name__
    if "KafkaError" in kinds:
        return _of_kafka(name, error, kinds)
    text = " ".join(_NUMBERS.sub("", str(error)).split()).rstrip(".")
    if "SSLError" in kinds:
        return f"TLS failed: {text.rpartition(']')[2].strip() or 'no agreement'}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not {error.encoding.upper()}, at byte {error.start + 1}"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return _lower(os.strerror(error.errno))
    if isinstance(error, TimeoutError):
        return text or "no answer in time"
    if isinstance(error, OSError):
        return _lower(error.strerror or text or name)
    return f"{name}: {text}" if text else name


def _of_kafka(name: str, error: BaseException, kinds: set[str]) -> str:
    known = _KAFKA.get(name)
    if known is not None:
        return known
    parts = _PART_OF_A_NAME.findall(re.sub(r"(Error|Exception)$", "", name))
    words = " ".join(part if part.isupper() else part.lower() for part in parts)
    if name == "KafkaError" and error.args:
        words = ""
    # A broker's answer is only a code; behind others stands more, of which one sentence will do.
    said = "" if "BrokerResponseError" in kinds else " ".join(map(str, error.args))
    more = " ".join(said.split()).partition(". ")[0].rstrip(".")
    return ": ".join(filter(None, (words, more)))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def spans(numbers: Iterable[int]) -> str:
    """Numbers as people write them: `0–5, 7`, or `none`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = (f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return ", ".join(texts) or "none"


def named_partitions(numbers: Collection[int]) -> str:
    """At least one: `partition 3` or `partitions 0–5, 7`."""
    return f"partition{'s' if len(numbers) > 1 else ''} {spans(numbers)}"
