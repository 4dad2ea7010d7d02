"""Identifiers of EPCIS: URN, GS1 Digital Link or bare word, of one thing they say the same."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from importers.documents.port import ForeignName
from importers.documents.values import (
    CannotRead,
    clip,
    code_name,
    gln_name,
    gtin_name,
    require_fit,
)
from importers.epcs import gtin_of_parts, other_thing
from importers.gtins import check_digit

#: What is part of a serial in a Digital Link as it is; all else is %XX.
_PLAIN: Final = "-._~"
_SGTIN = re.compile(r"urn:epc:id:sgtin:([0-9]{6,12})\.([0-9]{1,7})\.(\S{1,60})")
_CLASS = re.compile(
    r"urn:epc:(?:class:lgtin:([0-9]{6,12})\.([0-9]{1,7})\.(\S{1,60})"
    r"|idpat:sgtin:([0-9]{6,12})\.([0-9]{1,7})\.\*)"
)
_SSCC = re.compile(r"urn:epc:id:sscc:([0-9]{6,12})\.([0-9]{5,11})")
_SGLN = re.compile(r"urn:epc:id:sgln:([0-9]{6,12})\.([0-9]{0,6})\.(\S{1,60})")
_LINK = re.compile(r"https?://[^/?#\s]+(?:/[^?#\s]*?)?/(00|01|414)/([0-9]{8,18})((?:/[^?#\s]*)?)")
#: A word of the core business vocabulary, in the shapes that senders use: URN to 1.2, ref.gs1.org
#: and bare from 2.0 on.
_WORD = re.compile(
    r"(?:urn:epcglobal:cbv:[a-z]+:|https?://ref\.gs1\.org/cbv/[A-Za-z]+-|cbv:(?:[A-Za-z]+-)?)?"
    r"([a-z]+(?:_[a-z]+)*)"
)


@lru_cache(maxsize=1 << 8)
def word_of(text: str | None) -> str | None:
    """Return a word of the core vocabulary bare; what is none stays as it is."""
    if not text:
        return None
    found = _WORD.fullmatch(text)
    return found[1] if found else text


def thing_of(epc: str) -> tuple[ForeignName, str]:
    """Read the EPC of one thing: its item, and the serial that tells it from its like.

    Raises:
        CannotRead: it is a pallet, a place or an asset, a kind of things, or nothing known.
    """
    if found := _SGTIN.fullmatch(epc):
        serial = found[3]
        name = _of_parts(found[1], found[2], epc)
        return name, unquote(serial) if "%" in serial else serial
    if found := _LINK.match(epc):
        if found[1] == "01":
            serial = re.search(r"/21/([^/]+)", found[3])
            if not serial:
                raise CannotRead(
                    f"{clip(epc)} names a kind of things and not one thing: it belongs into a "
                    "quantity list, with how many."
                )
            return _countable(gtin_name(found[2]), epc), unquote(serial[1])
        raise _no_item("a pallet or parcel (SSCC)" if found[1] == "00" else "a place (SGLN)", epc)
    if _CLASS.fullmatch(epc):
        raise CannotRead(
            f"{clip(epc)} names a kind of things and not one thing: it belongs into a quantity "
            "list, with how many."
        )
    if what := other_thing(epc):
        raise _no_item(what, epc)
    raise CannotRead(f"{clip(epc)} is no EPC that is read here: ask its sender for an SGTIN.")


def container_of(epc: str) -> str | None:
    """Read the SSCC of a container, in 18 digits; None: it names something else.

    Raises:
        CannotRead: an SSCC that is none.
    """
    if ":sscc:" not in epc and "/00/" not in epc:
        return None
    text = canonical(epc)
    if not text.startswith("/00/"):
        return None
    digits = text[4:].split("/")[0]
    if len(digits) != 18:
        raise CannotRead(f"{clip(epc)} has not the 18 digits of an SSCC: ask its sender for it.")
    require_fit(digits, "SSCC")
    return digits


@lru_cache(maxsize=1 << 12)
def class_of(epc_class: str) -> ForeignName:
    """Read what a quantity is of: a lot (LGTIN), all serials (idpat), or a Digital Link.

    Raises:
        CannotRead: it is no item.
    """
    if found := _CLASS.fullmatch(epc_class):
        return _of_parts(found[1] or found[4], found[2] or found[5], epc_class)
    if (found := _LINK.match(epc_class)) and found[1] == "01":
        return gtin_name(found[2])
    if what := other_thing(epc_class):
        raise _no_item(what, epc_class)
    raise CannotRead(
        f"{clip(epc_class)} is no class of items that is read here: ask its sender for an LGTIN, "
        "an idpat of SGTINs or a GS1 Digital Link."
    )


@lru_cache(maxsize=1 << 12)
def place_of(uri: str) -> ForeignName:
    """Name a place. Extension 0 is none; another is a place within the GLN's, `sgln`.

    Raises:
        CannotRead: a GLN that is none.
    """
    if found := _SGLN.fullmatch(uri):
        payload = found[1] + found[2]
        if len(payload) != 12:
            raise CannotRead(f"{clip(uri)} has not the 12 digits of an SGLN: ask its sender.")
        return _of_gln(f"{payload}{check_digit(payload)}", unquote(found[3]))
    if (found := _LINK.match(uri)) and found[1] == "414":
        extension = re.search(r"/254/([^/]+)", found[3])
        return _of_gln(gln_name(found[2]).code, unquote(extension[1]) if extension else "0")
    return code_name("uri", uri)


def canonical(uri: str) -> str:
    """Write an identifier in one shape, so that what names one thing is one text.

    What is not known here stays as it is, and never becomes what another thing is.
    """
    if found := _SGTIN.fullmatch(uri):
        gtin = gtin_of_parts(found[1], found[2])
        return f"/01/{gtin}/21/{_escaped(found[3])}" if gtin else uri
    if found := _CLASS.fullmatch(uri):
        gtin = gtin_of_parts(found[1] or found[4], found[2] or found[5])
        lot = f"/10/{_escaped(found[3])}" if found[3] else ""
        return f"/01/{gtin}{lot}" if gtin else uri
    if found := _SSCC.fullmatch(uri):
        payload = found[2][0] + found[1] + found[2][1:]
        return f"/00/{payload}{check_digit(payload)}" if len(payload) == 17 else uri
    if (found := _SGLN.fullmatch(uri)) and len(found[1] + found[2]) == 12:
        payload = found[1] + found[2]
        within = "" if found[3] == "0" else f"/254/{_escaped(found[3])}"
        return f"/414/{payload}{check_digit(payload)}{within}"
    if found := _LINK.fullmatch(uri):
        number = found[2].zfill(14) if found[1] == "01" else found[2]
        rest = "/".join(_escaped(part) for part in found[3].rstrip("/").split("/"))
        return f"/{found[1]}/{number}{'' if rest == '/254/0' else rest}"
    return word_of(uri) or uri


@lru_cache(maxsize=1 << 14)
def _item_of(prefix: str, item: str) -> ForeignName | None:
    """An item by the parts of its GTIN, which come again and again with other serials."""
    gtin = gtin_of_parts(prefix, item)
    return None if gtin is None else ForeignName("gtin", gtin)


def _of_parts(prefix: str, item: str, epc: str) -> ForeignName:
    name = _item_of(prefix, item)
    if name is None:
        raise CannotRead(
            f"{clip(epc)} has not the 13 digits of a company prefix and an item together: ask its "
            "sender for the EPC."
        )
    return _countable(name, epc) if ":id:" in epc else name


def _countable(name: ForeignName, epc: str) -> ForeignName:
    if name.code[0] == "9":
        raise CannotRead(
            f"{clip(epc)} is sold by measure (its GTIN begins with 9), and nothing says how much "
            "this is: ask its sender for a quantity with its unit."
        )
    return name


def _of_gln(gln: str, extension: str) -> ForeignName:
    return ForeignName("gln", gln) if extension == "0" else code_name("sgln", f"{gln}.{extension}")


def _no_item(what: str, epc: str) -> CannotRead:
    inside = (
        ", and what is inside stands nowhere in this event: ask its sender for the items (SGTINs, "
        "or a quantity list)."
        if "SSCC" in what
        else ", and no item of stock: ask its sender to leave it out."
    )
    return CannotRead(f"{clip(epc)} is {what}{inside}")


def _escaped(text: str) -> str:
    return quote(unquote(text), safe=_PLAIN)
