"""X12 852 and 856: each trap of real interchanges."""

from __future__ import annotations

import pytest

from importers.documents.port import (
    BrokenDocument,
    LevelLine,
    MovedLine,
    OtherLine,
    RefusedLine,
    RevokingLine,
)
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import (
    CASE,
    DAY,
    DEPOT_GLN,
    OTHER_PIECE,
    PIECE,
    STORE_GLN,
    activity,
    ship_notice,
    x12,
)

UPC = OTHER_PIECE[2:]
LIN = f"LIN*1*EN*{PIECE[1:]}"
ITEM = ["HL*3*2*I", LIN, "SN1**4*EA"]
AT = f"at {DEPOT_GLN}"
SHIPPED: dict[str, tuple[list[str], list[str]]] = {
    "what left is no receipt": (ship_notice(*ITEM), [f"dispatched 4 {PIECE} {AT}"]),
    "one item under two orders is two lines": (
        ship_notice(*ITEM, "HL*4*1*O", "PRF*PO2", "HL*5*4*I", LIN, "SN1**4*EA"),
        [f"dispatched 4 {PIECE} {AT}"] * 2,
    ),
    "a UPC of 12 digits is a GTIN": (
        ship_notice("HL*3*2*I", f"LIN**UP*{UPC}", "SN1**4*EA"),
        [f"dispatched 4 {OTHER_PIECE} {AT}"],
    ),
    "the piece and not its case is what is counted": (
        ship_notice("HL*3*2*I", f"LIN**UK*{CASE}*EN*{PIECE[1:]}*VN*V7", "SN1**4*EA"),
        [f"dispatched 4 {PIECE} {AT}"],
    ),
    "cases are counted in cases": (
        ship_notice("HL*3*2*I", LIN, "SN1**2*CA", "PO4*12"), [f"dispatched 2 CS {PIECE} {AT}"],
    ),
    "pounds and a part of a foot": (
        ship_notice("HL*3*2*I", LIN, "SN1**23*LB", "HL*4*2*I", LIN, "SN1**1998.61*FT"),
        [f"dispatched 23 LBR {PIECE} {AT}", f"dispatched 1998.61 FOT {PIECE} {AT}"],
    ),
    "a buyer's own number is one of its own scheme": (
        ship_notice("HL*3*2*I", "LIN**CB*0012-A", "SN1**4*PC"), [f"dispatched 4 0012-A {AT}"],
    ),
    "a code of a case that has no check digit is no GTIN": (
        ship_notice("HL*3*2*I", f"LIN**UA*{UPC}", "SN1**4*EA", "HL*4*2*I", f"LIN**UA*{UPC}*IN*7",
                    "SN1**4*EA"),
        [f"dispatched 4 {UPC} {AT}", f"dispatched 4 7 {AT}"],
    ),
    "a line below a pack below an order": (
        ship_notice("HL*3*2*P", "MAN*GM*1", "HL*4*3*I", LIN, "SN1**4*EA"),
        [f"dispatched 4 {PIECE} {AT}"],
    ),
    "0 moves nothing": (
        ship_notice("HL*3*2*I", LIN, "SN1**0*EA"), ["other: A quantity of 0 moves nothing."],
    ),
}  # fmt: skip
SHIPPED_REFUSED: dict[str, tuple[list[str], str]] = {
    "a wrong check digit": (
        ship_notice("HL*3*2*I", "LIN**UP*042100005265", "SN1**4*EA"), "check digit does not fit",
    ),
    "a UPC without its check digit": (
        ship_notice("HL*3*2*I", "LIN**UP*04210000526", "SN1**4*EA"), "8, 12, 13 or 14 digits",
    ),
    "no item": (ship_notice("HL*3*2*I", "LIN*1", "SN1**4*EA"), "no number of an item"),
    "no LIN": (ship_notice("HL*3*2*I", "SN1**4*EA"), "no LIN"),
    "no SN1": (ship_notice("HL*3*2*I", LIN), "no SN1"),
    "no quantity": (ship_notice("HL*3*2*I", LIN, "SN1***EA"), "no decimal number"),
    "a quantity in words of a computer": (
        ship_notice("HL*3*2*I", LIN, "SN1**1E9*EA"), "no decimal number",
    ),
    "a quantity of a hundred digits": (
        ship_notice("HL*3*2*I", LIN, f"SN1**{'9' * 100}*EA"), "no decimal number",
    ),
    "less than nothing": (ship_notice("HL*3*2*I", LIN, "SN1**-4*EA"), "cannot leave"),
    "a unit that nobody knows": (ship_notice("HL*3*2*I", LIN, "SN1**4*QQ"), "is not known here"),
    "pounds equivalent are no pieces": (ship_notice("HL*3*2*I", LIN, "SN1**4*PE"), "unit 'PE' in"),
    "a parent that is not there": (ship_notice("HL*3*9*I", LIN, "SN1**4*EA"), "no HL before it"),
    "no place that goods left from": (
        [one for one in ship_notice(*ITEM) if not one.startswith("N1*SF")], "No N1*SF",
    ),
    "a GLN with a wrong check digit": (
        [one.replace(DEPOT_GLN, f"{DEPOT_GLN[:-1]}9") for one in ship_notice(*ITEM)],
        "The GLN",
    ),
    "a day that is a number": (
        [one.replace(f"DTM*011*{DAY}", "DTM*011*200") for one in ship_notice(*ITEM)],
        "no day",
    ),
}  # fmt: skip
STORE = f"at {STORE_GLN}"
ACTIVITY: dict[str, tuple[list[str], list[str]]] = {
    "flow and stock of one line are not added, and QTY is neither": (
        activity(LIN, "QTY*17*503*EA", "ZA*QA*415*EA", "ZA*QR*5*EA", "QTY*N4*1", "ZA*QS*88*EA"),
        [
            "other: QTY in an 852 says again what its ZA say, as a sum or a remark.",
            f"level 415 {PIECE} {STORE}",
            "other: QTY in an 852 says again what its ZA say, as a sum or a remark.",
            f"received 5 {PIECE} {STORE}",
            f"sold 88 {PIECE} {STORE}",
        ],
    ),
    "an ending balance is a level, 0 is one too": (
        activity(LIN, "ZA*QE*0*EA"), [f"level 0 {PIECE} {STORE}"],
    ),
    "what consumers brought back": (
        activity(LIN, "ZA*QU*2*EA"), [f"returned 2 {PIECE} {STORE}"],
    ),
    "more came back than was sold": (
        activity(LIN, "ZA*QS*-3*EA"), [f"returned 3 {PIECE} {STORE}"],
    ),
    "plans are no stock": (
        activity(LIN, "ZA*QP*100*EA", "ZA*QI*5*EA", "ZA*QO*1*EA"),
        [
            "other: QP says what is on order, which is not there and did not move.",
            "other: QI says what is on its way, which is not there and did not move.",
            "other: QO says what was missing, which is not there and did not move.",
        ],
    ),
    "pairs of SDQ are stores, and the total is not one more": (
        activity(LIN, "ZA*QS*9*EA", "SDQ*EA*92*0007*4*0008*3", "SDQ*EA*92*0009*2"),
        [f"sold 4 {PIECE} at 0007", f"sold 3 {PIECE} at 0008", f"sold 2 {PIECE} at 0009"],
    ),
    "pairs of SDQ without a total": (
        activity(LIN, "ZA*QS", "SDQ*EA*UL*" + f"{STORE_GLN}*4*{DEPOT_GLN}*-1"),
        [f"sold 4 {PIECE} {STORE}", f"returned 1 {PIECE} at {DEPOT_GLN}"],
    ),
    "ten pairs, and what comes behind them is none": (
        activity(LIN, "ZA*QS", "SDQ*EA*92*" + "*".join(f"{n}*1" for n in range(10)) + "*X"),
        [f"sold 1 {PIECE} at {n}" for n in range(10)],
    ),
    "an N1 behind lines sets the place of those below": (
        activity(LIN, "ZA*QS*1*EA", f"N1*BY**UL*{DEPOT_GLN}", LIN, "ZA*QS*2*EA"),
        [f"sold 1 {PIECE} {STORE}", f"sold 2 {PIECE} at {DEPOT_GLN}"],
    ),
    "a buyer before the lines does not hide their store": (
        ["852", f"XQ*H*{DAY}", f"N1*BY**UL*{DEPOT_GLN}", f"N1*RL**UL*{STORE_GLN}", "N1*VN**9*1",
         f"N1*ST**UL*{DEPOT_GLN}", LIN, "ZA*QS*1*EA"],
        [f"sold 1 {PIECE} {STORE}"],
    ),
    "XPO sets the place": (
        activity("XPO*1*2*92*0042", LIN, "ZA*QS*1*EA"), [f"sold 1 {PIECE} at 0042"],
    ),
    "an XPO of orders alone does not": (
        activity("XPO*1*2", LIN, "ZA*QS*1*EA"), [f"sold 1 {PIECE} {STORE}"],
    ),
    "a fraction without its zero": (
        activity(LIN, "ZA*QS*.5*KG"), [f"sold 0.5 KGM {PIECE} {STORE}"],
    ),
}  # fmt: skip
ACTIVITY_REFUSED: dict[str, tuple[list[str], str]] = {
    "stores that are not the total": (
        activity(LIN, "ZA*QS*9*EA", "SDQ*EA*92*0007*4"), "the stores of its SDQ have 4",
    ),
    "units that differ": (activity(LIN, "ZA*QS**EA", "SDQ*CA*92*7*4"), "ask which"),
    "an unknown code": (activity(LIN, "ZA*Q1*9*EA"), "ZA01 is 'Q1'"),
    "stock below 0": (activity(LIN, "ZA*QA*-9*EA"), "cannot lie anywhere"),
    "a receipt below 0": (activity(LIN, "ZA*QR*-9*EA"), "not known what that would be"),
    "no store": (["852", f"XQ*H*{DAY}", LIN, "ZA*QS*9*EA"], "which store"),
    "no item": (activity("ZA*QS*9*EA"), "No LIN"),
    "no activity": (activity(LIN), "no ZA"),
    "pairs without an activity": (activity("SDQ*EA*92*7*4"), "behind no ZA"),
    "no day": (["852", f"N1*ST**UL*{STORE_GLN}", LIN, "ZA*QS*9*EA"], "No XQ"),
    "a pair without a quantity": (activity(LIN, "ZA*QS", "SDQ*EA*92*7"), "no decimal number"),
}  # fmt: skip


@pytest.mark.parametrize("trap", SHIPPED | ACTIVITY)
def test_each_trap_is_read_right(trap: str) -> None:
    segments, expected = (SHIPPED | ACTIVITY)[trap]

    assert writing.brief(writing.read(x12(segments), "x12")) == expected


@pytest.mark.parametrize("trap", SHIPPED_REFUSED | ACTIVITY_REFUSED)
def test_what_cannot_be_read_is_one_refused_line_that_says_why(trap: str) -> None:
    segments, says = (SHIPPED_REFUSED | ACTIVITY_REFUSED)[trap]

    (line,) = writing.lines(writing.read(x12(segments), "x12"))

    assert isinstance(line, RefusedLine)
    assert says in line.sentence
    assert "segment " in line.where


@pytest.mark.parametrize("signs", ["~`*", "^>~", "*:}", "*>?", "*>^", "|>\n", "\x1d\x1f\x1c"])
def test_the_signs_are_those_of_the_isa(signs: str) -> None:
    data = x12(ship_notice(*ITEM), signs=signs)

    assert writing.brief(writing.read(data, "x12")) == SHIPPED["what left is no receipt"][1]


def test_lines_spaces_and_a_converters_own_terminator_are_no_part_of_segments() -> None:
    usual = x12(activity(LIN, "ZA*QS*88*EA"), signs="*>^").decode()
    odd = "".join(f"  {segment} ^\r\n" for segment in usual.split("^")[:-2])
    isa = usual[:106] + "\r\n"
    odd = isa + odd.partition("\r\n")[2] + "IEA*1*000000017~^\r\n\x1a"

    assert writing.brief(writing.read(odd.encode(), "x12")) == [f"sold 88 {PIECE} {STORE}"]


def test_parents_and_not_order_say_where_goods_left_from_and_for_which_order() -> None:
    other = f"N1*SF**UL*{STORE_GLN}"
    notice = ["856", "BSN*00*S1*20260131", "HL*1**S", f"N1*SF**UL*{DEPOT_GLN}", "HL*2*1*O", "PRF*A",
              "HL*3**S", other, "HL*4*3*O", "PRF*B",
              "HL*5*2*I", LIN, "SN1**1*EA", "HL*6*4*I", LIN, "SN1**2*EA"]  # fmt: skip

    found = writing.lines(writing.read(x12(notice), "x12"))

    said = [
        (line.place.code, line.reference, int(line.quantity))
        for line in found
        if isinstance(line, MovedLine)
    ]
    assert said == [(DEPOT_GLN, "A", 1), (STORE_GLN, "B", 2)]


def test_the_day_of_activity_is_the_reports_last_or_its_own_and_never_the_files() -> None:
    segments = activity(LIN, "ZA*QS*1*EA", "ZA*QA*2*EA*007*20260130")
    segments[1] = "XQ*H*20260125*20260131"

    days = [
        line.day
        for line in writing.lines(writing.read(x12(segments, date="260207"), "x12"))
        if isinstance(line, MovedLine | LevelLine)
    ]

    assert days == ["2026-01-31", "2026-01-30"]


@pytest.mark.parametrize(
    ("purpose", "kinds"),
    [
        ("00", [MovedLine]),
        ("01", [RevokingLine, OtherLine]),
        ("05", [RevokingLine, MovedLine]),
        ("07", [OtherLine]),
        ("04", [RefusedLine]),
        ("", [RefusedLine]),
    ],
)
def test_a_notice_says_whether_it_counts_cancels_or_replaces(
    purpose: str, kinds: list[type]
) -> None:
    original = writing.read(x12(ship_notice(*ITEM)), "x12")
    later = writing.read(x12(ship_notice(*ITEM, purpose=purpose), control="000000018"), "x12")

    found = writing.lines(later)
    assert [type(line) for line in found] == kinds
    before, after = writing.documents(original)[0], writing.documents(later)[0]
    assert before.called == after.called
    assert (before.identity == after.identity) == (purpose == "00")
    for line in found:
        if isinstance(line, RevokingLine):
            assert (line.document, line.revoked) == (before.called, None)


def test_two_replacements_of_one_notice_are_two_documents_of_one_name() -> None:
    found = [
        writing.documents(
            writing.read(x12(ship_notice(*ITEM, purpose=purpose), control=f"00000001{n}"), "x12")
        )[0]
        for n, purpose in enumerate(["00", "05", "05"])
    ]

    assert len({one.identity for one in found}) == 3
    assert len({one.called for one in found}) == 1


def test_a_notice_that_is_sent_again_in_a_new_interchange_is_the_same() -> None:
    found = {
        writing.documents(writing.read(x12(ship_notice(*ITEM), control=control), "x12"))[0].identity
        for control in ("000000018", "000000019")
    }

    assert len(found) == 1


def test_reports_are_told_apart_by_every_number_around_them() -> None:
    report = activity(LIN, "ZA*QS*1*EA")
    ways = [
        x12(report, report),
        x12(report, control="000000018"),
        x12(report, date="260202"),
        x12(report).replace(b"SUPPLIER ", b"SUPPLIES "),
    ]

    found = [one.identity for data in ways for one in writing.documents(writing.read(data, "x12"))]

    assert len(set(found)) == 5


def test_equal_lines_are_two_with_numbers_that_stay() -> None:
    data = x12(activity(LIN, "ZA*QS*1*EA", LIN, "ZA*QS*1*EA", "ZA*QS", "SDQ*EA*92*1*1*1*1"))

    found = [[line.number for line in writing.lines(writing.read(data, "x12"))] for _ in range(2)]

    assert len(set(found[0])) == 4
    assert found[0] == found[1]


def test_a_test_is_a_test_and_never_stands_for_the_real_one() -> None:
    for segments in (ship_notice(*ITEM), activity(LIN, "ZA*QS*1*EA"), ["846", "BIA*00"]):
        test, real = (
            writing.documents(writing.read(x12(segments, test=flag), "x12"))[0]
            for flag in (True, False)
        )
        assert (test.is_test, real.is_test) == (True, False)
        assert test.identity != real.identity


def test_a_set_is_what_its_st_says_and_not_its_group() -> None:
    assert (
        writing.brief(writing.read(x12(ship_notice(*ITEM), group="IN"), "x12"))
        == (SHIPPED["what left is no receipt"][1])
    )


def test_sets_of_other_kinds_are_one_line_each() -> None:
    refused, other = writing.lines(writing.read(x12(["846", "BIA*00"], ["997", "AK9*A"]), "x12"))

    assert isinstance(refused, RefusedLine)
    assert "'846' is not read here" in refused.sentence
    assert isinstance(other, OtherLine)


def test_interchanges_in_one_file_have_signs_of_their_own() -> None:
    data = x12(ship_notice(*ITEM)) + b"\n" + x12(
        ship_notice(*ITEM, number="SHIP2"), signs="^`!", control="000000018", test=True
    )  # fmt: skip

    assert [one.is_test for one in writing.documents(writing.read(data, "x12"))] == [False, True]


GOOD = x12(ship_notice(*ITEM), activity(LIN, "ZA*QS*1*EA")).decode()


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("SE*11*0001", "SE*12*0001", "SE says '12' segments, and there are 11"),
        ("SE*11*0001", "SE**0001", "SE says"),
        ("SE*11*0001", "SE*11*0009", "'0009'"),
        ("GE*2*5", "GE*1*5", "GE says '1' sets, and there are 2"),
        ("GE*2*5", "GE*2*6", "'6'"),
        ("IEA*1*000000017", "IEA*2*000000017", "IEA says"),
        ("IEA*1*000000017", "IEA*1*000000018", "'000000018'"),
        ("IEA*1*000000017~", "", "ends before the IEA"),
        ("GE*2*5~", "", "IEA stands where it cannot"),
        ("SE*11*0001~", "", "before the SE"),
        ("ST*852*0002", "ST*852*0001", "Two sets have the number"),
        ("HL*2*1*O", "HL*1*1*O", "two HL have the number"),
        ("BSN*00*SHIP1", "BSN*00*", "one BSN"),
        ("BSN*00*SHIP1*20260131*0900~", "", "no BSN"),
        ("GS*", "G?*", "no name of a segment"),
        ("ISA*00*  ", "ISA*00*", "106 characters"),
    ],
)
def test_an_envelope_that_does_not_hold_breaks_the_whole_file(
    was: str, becomes: str, says: str
) -> None:
    assert was in GOOD

    with pytest.raises(BrokenDocument, match="nothing of it was taken") as problem:
        writing.read(GOOD.replace(was, becomes, 1).encode(), "x12")

    assert says in str(problem.value)
