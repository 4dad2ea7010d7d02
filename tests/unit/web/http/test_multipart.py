"""A body of several parts is read as RFC 7578 says it, or refused with one sentence."""

from __future__ import annotations

import pytest

from web.http.multipart import FormPart, form_parts

KNOWN = ("file", "map")
TYPE = 'multipart/form-data; boundary="a b"'


def a_body(*parts: bytes, end: bytes = b"--a b--\r\n") -> bytes:
    return b"".join(b"--a b\r\n%b\r\n" % part for part in parts) + end


def a_part(name: str, data: bytes, more: str = "", head: str = "") -> bytes:
    said = f'Content-Disposition: form-data; name="{name}"{more}\r\n{head}'
    return said.encode() + b"\r\n" + data


def test_each_part_is_what_stands_between_two_boundaries_byte_for_byte() -> None:
    data = b"\r\n--a\r\n\x00\xff\r\n-- a b\r\n"
    body = a_body(a_part("map", b""), a_part("file", data, '; filename="x.csv"'))

    assert form_parts(body, TYPE, KNOWN) == {
        "map": FormPart(b"", ""),
        "file": FormPart(data, "x.csv"),
    }
    assert form_parts(b"a preamble\r\n" + body + b"an epilogue", TYPE, KNOWN)["file"].data == data


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('; filename="Verk\u00e4ufe 1.csv"', "Verk\u00e4ufe 1.csv"),
        ("; filename*=UTF-8''Verk%C3%A4ufe.csv", "Verk\u00e4ufe.csv"),
        (r'; filename="C:\\fakepath\\sales.csv"', "sales.csv"),
        ('; filename="../../etc/sales.csv"', "sales.csv"),
        ('; filename="a;b.csv"', "a;b.csv"),
        ('; filename=""', ""),
        ("", ""),
    ],
)
def test_a_file_is_called_as_its_part_says_without_folders(said: str, name: str) -> None:
    body = a_body(a_part("file", b"x", said))

    assert form_parts(body, TYPE, KNOWN)["file"].file == name


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"", "multipart/form-data", "names no boundary"),
        (b"", "multipart/form-data; boundary=" + "x" * 71, "names no boundary"),
        (b"", TYPE, "ends before its parts do"),
        (a_body(a_part("file", b"x"), end=b""), TYPE, "ends before its parts do"),
        (a_body(a_part("file", b"x"), a_part("file", b"y")), TYPE, "file is given twice"),
        (a_body(a_part("fiel", b"x")), TYPE, "There is no part 'fiel'; known are file, map."),
        (a_body(*[a_part("x", b"")] * 50), TYPE, "There is no part 'x'"),
        (a_body(b"Content-Type: text/csv\r\n\r\nx"), TYPE, "has no name"),
        (a_body(b"x"), TYPE, "no head that can be read"),
        (a_body(a_part("file", b"x", head=f"X: {'y' * 9000}\r\n")), TYPE, "no head"),
        (a_body(b'Content-Disposition: x; name="\xff"\r\n\r\nx'), TYPE, "is not UTF-8"),
        (
            a_body(a_part("file", b"x", head="Content-Transfer-Encoding: base64\r\n")),
            TYPE,
            "encoded for mail",
        ),
    ],
)
def test_what_is_no_such_body_is_refused_in_a_sentence(body: bytes, kind: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as why:
        form_parts(body, kind, KNOWN)

    assert told in str(why.value)
