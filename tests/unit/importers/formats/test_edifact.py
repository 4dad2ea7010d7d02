"""EDIFACT DESADV and SLSRPT: each trap of real interchanges."""

from __future__ import annotations

import pytest

from importers.documents.port import (
    BrokenDocument,
    LevelLine,
    MovedLine,
    Movement,
    OtherLine,
    RefusedLine,
    RevokingLine,
)
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import (
    CASE,
    DAY,
    DEPOT_GLN,
    PIECE,
    STORE_GLN,
    despatch,
    edifact,
    sales,
)

EAN = PIECE[1:]
LIN = f"LIN+1++{EAN}:EN"
AT, STORE = f"at {DEPOT_GLN}", f"at {STORE_GLN}"
SENT: dict[str, tuple[list[str], list[str]]] = {
    "what left is no receipt": (
        despatch(LIN, "QTY+12:20:PCE"), [f"dispatched 20 {PIECE} {AT}"],
    ),
    "a supplier sends from its own place unless it says another": (
        [one for one in despatch(LIN, "QTY+12:20") if not one.startswith("NAD+SF")],
        [f"dispatched 20 {PIECE} {STORE}"],
    ),
    "the item of EANCOM 2002": (
        despatch(f"LIN+1++{EAN}:SRV", "QTY+12:20"), [f"dispatched 20 {PIECE} {AT}"],
    ),
    "an item that only PIA names": (
        despatch("LIN+1", f"PIA+5+{EAN}:EN", "QTY+12:20"), [f"dispatched 20 {PIECE} {AT}"],
    ),
    "an item that only PIA names, without saying whose number it is": (
        despatch("LIN+1", "PIA+5+0017-B", "QTY+12:20"), [f"dispatched 20 0017-B {AT}"],
    ),
    "what LIN counts and not what PIA says besides": (
        despatch(f"LIN+1++{CASE}:EN", f"PIA+1+{EAN}:EN+A7:SA", "QTY+12:2"),
        [f"dispatched 2 {CASE} {AT}"],
    ),
    "a number of the buyer's gives way to a GTIN": (
        despatch("LIN+1++4711:IN", f"PIA+5+{EAN}:EN", "QTY+12:2"), [f"dispatched 2 {PIECE} {AT}"],
    ),
    "what it replaces, and what may replace it, are other items": (
        despatch("LIN+1++4711:IN", f"PIA+4+{EAN}:EN", f"PIA+2+{EAN}:EN", f"PIA+7+{EAN}:EN",
                 "QTY+12:2", "LIN+2", f"PIA+3+{EAN}:EN", "PIA+5+0017-B", "QTY+12:1"),
        [f"dispatched 2 4711 {AT}", f"dispatched 1 0017-B {AT}"],
    ),
    "pieces under cartons are counted once, and a pack's contents never": (
        despatch("PAC+20++CT", LIN, "QTY+12:20", "QTY+59:12", "QTY+21:24"),
        [
            "other: QTY '59' is not what was despatched (12).",
            "other: QTY '21' is not what was despatched (12).",
            f"dispatched 20 {PIECE} {AT}",
        ],
    ),
    "parts of a line and quantities of packages are not one more": (
        despatch("PAC+20++CT", "QTY+12:20", LIN, "QTY+12:20", f"LOC+7+{STORE_GLN}::9", "QTY+12:8",
                 "LOC+7+X", "QTY+12:12"),
        [
            "other: The quantity is of a package or a part of a line, which the line has in whole.",
        ] * 3 + [f"dispatched 20 {PIECE} {AT}"],
    ),
    "a weight with a point": (
        despatch(LIN, "QTY+12:10.5:KGM"), [f"dispatched 10.5 KGM {PIECE} {AT}"],
    ),
    "a weight with a comma": (
        despatch(LIN, "QTY+12:10,5:KGM"), [f"dispatched 10.5 KGM {PIECE} {AT}"],
    ),
    "0 moves nothing": (despatch(LIN, "QTY+12:0"), ["other: A quantity of 0 moves nothing."]),
}  # fmt: skip
SOLD: dict[str, tuple[list[str], list[str]]] = {
    "a place holds for all lines below, and comes again": (
        sales(LIN, "QTY+153:2:PCE", LIN, "QTY+153:1", f"LOC+162+{DEPOT_GLN}::9", LIN, "QTY+153:3",
              f"LOC+162+{STORE_GLN}::9", LIN, "QTY+153:4"),
        [f"sold 2 {PIECE} {STORE}", f"sold 1 {PIECE} {STORE}", f"sold 3 {PIECE} {AT}",
         f"sold 4 {PIECE} {STORE}"],
    ),
    "a sale below 0 is a return, beside a sale of the same": (
        sales(LIN, "QTY+153:2", LIN, "QTY+153:-2"),
        [f"sold 2 {PIECE} {STORE}", f"returned 2 {PIECE} {STORE}"],
    ),
    "returns by their own codes": (
        sales(LIN, "QTY+153:2", "QTY+61:1", "QTY+210:3"),
        [f"sold 2 {PIECE} {STORE}", f"returned 1 {PIECE} {STORE}", f"returned 3 {PIECE} {STORE}"],
    ),
    "stock is a level": (sales(LIN, "QTY+145:7"), [f"level 7 {PIECE} {STORE}"]),
    "a code for something else": (
        sales(LIN, "QTY+83:7"),
        ["other: QTY '83' is neither sold (153), returned (61, 210) nor stock (145)."],
    ),
    "a store by the buyer's own number": (
        sales("LOC+162+0017::92", LIN, "QTY+153:1"), [f"sold 1 {PIECE} at 0017"],
    ),
    "a store name with every sign in it": (
        sales("LOC+162+A?+B?:C?'D??::92", LIN, "QTY+153:1"), [f"sold 1 {PIECE} at A+B:C'D?"],
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[list[str], str]] = {
    "a wrong check digit": (despatch(f"LIN+1++{EAN[:-1]}9:EN", "QTY+12:1"), "does not fit"),
    "no item": (despatch("LIN+1", "QTY+12:1"), "no number of an item"),
    "no quantity": (despatch(LIN), "0 quantities despatched"),
    "two quantities": (despatch(LIN, "QTY+12:1:CT", "QTY+12:20"), "2 quantities despatched"),
    "free goods": (despatch(LIN, "QTY+12:20", "QTY+192:2"), "free of charge"),
    "less than nothing": (despatch(LIN, "QTY+12:-1"), "cannot leave"),
    "a quantity of a hundred digits": (despatch(LIN, f"QTY+12:{'9' * 100}"), "no decimal number"),
    "a unit that is a word": (despatch(LIN, "QTY+12:1:PIECES"), "Recommendation 20"),
    "no place": (
        [one for one in despatch(LIN, "QTY+12:1") if not one.startswith("NAD")], "NAD+SF",
    ),
    "a GLN with a wrong check digit": (
        [one.replace(DEPOT_GLN, f"{DEPOT_GLN[:-1]}9") for one in despatch(LIN, "QTY+12:1")],
        "The GLN",
    ),
    "a day that is none": (
        [one.replace(f"{DAY}:102", "20260230:102") for one in despatch(LIN, "QTY+12:1")], "no day",
    ),
    "a form of time that is not read": (
        [one.replace(f"{DAY}:102", "6:610") for one in despatch(LIN, "QTY+12:1")], "form '610'",
    ),
    "a sale without a store": (
        ["SLSRPT", "BGM+73E+R1+9", LIN, "QTY+153:1"], "No LOC before the line",
    ),
    "a place of delivery": (
        sales(f"LOC+7+{DEPOT_GLN}::9", LIN, "QTY+153:1"), "no place of sale",
    ),
    "a sale without an item": (sales("QTY+153:1"), "No LIN"),
    "a line without a quantity": (sales(LIN), "no QTY"),
    "a return below 0": (sales(LIN, "QTY+61:-1"), "not known what that would be"),
    "stock below 0": (sales(LIN, "QTY+145:-1"), "cannot lie anywhere"),
}  # fmt: skip


@pytest.mark.parametrize("trap", SENT | SOLD)
def test_each_trap_is_read_right(trap: str) -> None:
    segments, expected = (SENT | SOLD)[trap]

    assert writing.brief(writing.read(edifact(segments), "edifact")) == expected


@pytest.mark.parametrize("trap", REFUSED)
def test_what_cannot_be_read_is_one_refused_line_that_says_why(trap: str) -> None:
    segments, says = REFUSED[trap]

    (line,) = writing.lines(writing.read(edifact(segments), "edifact"))

    assert isinstance(line, RefusedLine)
    assert says in line.sentence
    assert "segment " in line.where


@pytest.mark.parametrize("una", [":+.? '", ":+,? '", "|*,\\ ~", ":+.  '", "\x1f\x1d.? \x1c"])
def test_the_signs_are_those_of_una(una: str) -> None:
    weight = f"QTY+12:10{una[2]}5:KGM"

    found = writing.brief(writing.read(edifact(despatch(LIN, weight), una=una), "edifact"))

    assert found == [f"dispatched 10.5 KGM {PIECE} {AT}"]


def test_a_mark_that_una_does_not_name_is_not_guessed() -> None:
    for una, text in ((":+.? '", "1,000"), (":+,? '", "1.000")):
        data = edifact(despatch(LIN, f"QTY+12:{text}"), una=una)
        (line,) = writing.lines(writing.read(data, "edifact"))
        assert isinstance(line, RefusedLine)


@pytest.mark.parametrize(
    ("version", "kind"),
    [("D:96A:UN", "DESADV"), ("0:96A:UN", "DESADV"), ("D:01B:UN:EAN007", "DESADV"), ("", "SLSRPT")],
)
def test_a_message_is_what_its_unh_says_in_whatever_version(version: str, kind: str) -> None:
    segments = despatch(LIN, "QTY+12:1") if kind == "DESADV" else sales(LIN, "QTY+153:1")

    (line,) = writing.lines(writing.read(edifact(segments, version=version), "edifact"))

    assert isinstance(line, MovedLine)


@pytest.mark.parametrize(
    ("dtm", "time", "day"),
    [
        ("20260131:102", None, "2026-01-31"),
        ("260131:101", None, "2026-01-31"),
        ("202601312300:203", None, "2026-01-31T23:00:00"),
        ("20260131230015:204", None, "2026-01-31T23:00:15"),
        ("202601312300UTC:303", "2026-01-31T23:00:00Z", None),
        ("202601312300CET:303", None, "2026-01-31T23:00:00"),
        ("20260125-20260131:718", None, "2026-01-31"),
        ("2026012520260131:711", None, "2026-01-31"),
    ],
)
def test_a_time_is_read_by_its_form(dtm: str, time: str | None, day: str | None) -> None:
    segments = [
        one.replace(f"DTM+11:{DAY}:102", f"DTM+11:{dtm}") for one in despatch(LIN, "QTY+12:1")
    ]

    (line,) = writing.lines(writing.read(edifact(segments), "edifact"))

    assert isinstance(line, MovedLine)
    assert (line.time, line.day) == (time, day)


def test_the_day_of_sales_is_the_stores_else_the_reports_last_and_never_when_it_was_written() -> (
    None
):
    segments = ["SLSRPT", "BGM+73E+R1+9", "DTM+137:20260201:102", "DTM+90:20260125:102",
                "DTM+91:20260131:102", f"LOC+162+{STORE_GLN}::9", "DTM+356:20260128:102", LIN,
                "QTY+153:1", f"LOC+162+{DEPOT_GLN}::9", LIN, "QTY+153:1"]  # fmt: skip

    found = writing.lines(writing.read(edifact(segments), "edifact"))
    alone = writing.lines(
        writing.read(edifact([one for one in segments if "DTM+91" not in one]), "edifact")
    )

    assert [line.day for line in found if isinstance(line, MovedLine)] == [
        "2026-01-28",
        "2026-01-31",
    ]
    assert [line.day for line in alone if isinstance(line, MovedLine)] == ["2026-01-28", None]


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        ("9", [MovedLine]),
        ("", [MovedLine]),
        ("1", [RevokingLine, OtherLine]),
        ("5", [RevokingLine, MovedLine]),
        ("7", [OtherLine]),
        ("31", [OtherLine]),
        ("4", [RefusedLine]),
        ("700101", [RefusedLine]),
    ],
)
@pytest.mark.parametrize("kind", ["DESADV", "SLSRPT"])
def test_a_message_says_whether_it_counts_cancels_or_replaces(
    kind: str, function: str, kinds: list[type]
) -> None:
    def write(code: str, reference: str) -> bytes:
        segments = (
            despatch(LIN, "QTY+12:1", function=code)
            if kind == "DESADV"
            else sales(LIN, "QTY+153:1", function=code)
        )
        return edifact(segments, reference=reference)

    original = writing.read(write("9", "I17"), "edifact")
    later = writing.read(write(function, "I18"), "edifact")

    found = writing.lines(later)
    assert [type(line) for line in found] == kinds
    before, after = writing.documents(original)[0], writing.documents(later)[0]
    assert before.called == after.called
    for line in found:
        if isinstance(line, RevokingLine):
            assert (line.document, line.revoked) == (before.called, None)
            assert before.identity != after.identity


def test_an_advice_is_known_by_its_number_and_a_report_by_its_interchange() -> None:
    advice = {
        writing.documents(
            writing.read(edifact(despatch(LIN, "QTY+12:1"), reference=reference), "edifact")
        )[0].identity
        for reference in ("I17", "I18")
    }
    report = [
        document.identity
        for data in (
            edifact(sales(LIN, "QTY+153:1"), sales(LIN, "QTY+153:1")),
            edifact(sales(LIN, "QTY+153:1"), reference="I18"),
        )
        for document in writing.documents(writing.read(data, "edifact"))
    ]

    assert len(advice) == 1
    assert len(set(report)) == 3


def test_the_second_interchange_of_a_file_is_a_test_that_repeats_the_first() -> None:
    report = sales(LIN, "QTY+153:2")
    data = edifact(report, una=":+.? '") + b"\r\n" + edifact(report, test=True)

    first, second = writing.documents(writing.read(data, "edifact"))

    assert (first.is_test, second.is_test) == (False, True)
    assert first.identity != second.identity
    assert first.called != second.called


def test_an_una_holds_for_its_own_interchange_only() -> None:
    advice = despatch(LIN, "QTY+12:1,5:KGM")
    data = edifact(advice, una="|*,\\ ~") + edifact(sales(LIN, "QTY+153:1.5:KGM"), reference="I18")

    found = writing.lines(writing.read(data, "edifact"))

    assert [type(line) for line in found] == [MovedLine, MovedLine]


def test_equal_lines_are_two_with_numbers_that_stay() -> None:
    data = edifact(sales(LIN, "QTY+153:1", LIN, "QTY+153:1"))

    found = [[line.number for line in writing.lines(writing.read(data, "edifact"))] for _ in "ab"]

    assert len(set(found[0])) == 2
    assert found[0] == found[1]


def test_stock_beside_sales_has_their_day() -> None:
    sold, stock = writing.lines(
        writing.read(edifact(sales(LIN, "QTY+153:1", "QTY+145:7")), "edifact")
    )

    assert isinstance(sold, MovedLine)
    assert isinstance(stock, LevelLine)
    assert (sold.movement, sold.day) == (Movement.SOLD, stock.day)


def test_messages_of_other_kinds_are_one_line_each() -> None:
    refused, other = writing.lines(
        writing.read(edifact(["INVRPT", "BGM+35+1"], ["CONTRL", "UCI+1"]), "edifact")
    )

    assert isinstance(refused, RefusedLine)
    assert "'INVRPT' is not read here" in refused.sentence
    assert isinstance(other, OtherLine)


def test_messages_in_a_group_are_counted_by_it() -> None:
    one = edifact(despatch(LIN, "QTY+12:1")).decode()
    grouped = one.replace("UNH+", "UNG+DESADV+A+B+260201:0900+G1+UN+D:96A'UNH+").replace(
        "UNZ+", "UNE+1+G1'UNZ+"
    )

    assert len(writing.lines(writing.read(grouped.encode(), "edifact"))) == 1
    with pytest.raises(BrokenDocument, match="UNE says '2' messages"):
        writing.read(grouped.replace("UNE+1", "UNE+2").encode(), "edifact")


GOOD = edifact(despatch(LIN, "QTY+12:1"), sales(LIN, "QTY+153:1")).decode()


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("UNT+9+M1", "UNT+10+M1", "UNT says '10' segments, and there are 9"),
        ("UNT+9+M1", "UNT+9+M2", "'M2'"),
        ("UNT+9+M1'", "", "before the UNT"),
        ("UNZ+2+I17", "UNZ+1+I17", "UNZ says '1' messages, and there are 2"),
        ("UNZ+2+I17", "UNZ+2+I18", "'I18'"),
        ("UNZ+2+I17'", "", "ends before the UNZ"),
        ("UNH+M2", "UNH+M1", "Two messages have the number"),
        ("BGM+351+D1+9'", "", "does not begin with BGM"),
        ("BGM+351+D1+9", "BGM+351", "one BGM"),
        ("UNB+", "UNA::::::", "cannot be told apart"),
        ("UNB+", "UNA:+1? 'UNB+", "cannot be told apart"),
        ("CPS+1", "C!+1", "no name of a segment"),
    ],
)
def test_an_envelope_that_does_not_hold_breaks_the_whole_file(
    was: str, becomes: str, says: str
) -> None:
    assert was in GOOD

    with pytest.raises(BrokenDocument, match="nothing of it was taken") as problem:
        writing.read(GOOD.replace(was, becomes, 1).encode(), "edifact")

    assert says in str(problem.value)
