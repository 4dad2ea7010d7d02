"""Two versions compared while both go on counting: exact, complete, and never a false alarm."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upgrades.diff import comparing
from app.upgrades.diff.comparing import Comparing, Difference, Tally, _Settling
from app.upgrades.diff.sides import SEVERAL, FoundKeys, NotCompared, RowPage, page_holding
from domain.rows import Row, decode_row, encode_row, row_key
from web.reads.cursors import RowKey

PAGE_ROWS = 5


class FakeSide:
    """A version that counts a log of one partition: at each question it may be further on.

    Attributes:
        at: offsets that it has counted.
        wrong: by key, what it adds to `sold` by mistake, or by other rules.
        blind: offsets that it refuses.
    """

    partitions = 1

    def __init__(self, log: list[RowKey], start: int, chance: random.Random) -> None:
        self.log, self.at, self._chance = log, start, chance
        self.wrong: dict[RowKey, int] = {}
        self.blind: set[int] = set()
        self.worker = "http://w:1"

    async def page(self, partition: int, place: RowKey) -> RowPage:
        """The next rows behind this key."""
        position = f"sales-0@{self.at - 1}"
        rows = self._rows()
        keys = sorted(key for key in rows if key > place)
        some = [(row_key(*key), encode_row(rows[key])) for key in keys[:PAGE_ROWS]]
        reach = keys[PAGE_ROWS - 1] if len(keys) > PAGE_ROWS else None
        return page_holding(some, reach, self.worker, position)

    async def look(self, partition: int, keys: Iterable[RowKey], floor: str = "") -> FoundKeys:
        """Some rows; it tells its position and goes on before it reads them."""
        if floor:
            self.at = max(self.at, int(floor.rpartition("@")[2]) + 1)
        position = f"sales-0@{self.at - 1}"
        rows = self._rows()
        return FoundKeys({key: rows[key] for key in keys if key in rows}, position, self.worker)

    def _rows(self) -> dict[RowKey, Row]:
        self.at = min(len(self.log), self.at + self._chance.choice((0, 0, 1, 3)))
        return self.stock(self.at)

    def stock(self, at: int) -> dict[RowKey, Row]:
        """The rows of the log's first events."""
        rows: dict[RowKey, Row] = {}
        for offset, key in enumerate(self.log[:at]):
            if offset not in self.blind:
                row = rows.get(key) or Row(sold=self.wrong.get(key, 0))
                rows[key] = Row(
                    sold=row.sold + 1, events=row.events + 1, checksum=row.checksum + 7**offset % 97
                )
        return rows


def compared(old: FakeSide, new: FakeSide) -> tuple[Tally, list[Difference]]:
    found: list[Difference] = []

    async def report(partition: int, some: list[Difference]) -> None:
        found.extend(some)

    one: Any = old
    other: Any = new
    return asyncio.run(Comparing(one, other, report, lambda count: None).run()), found


KEYS = [(f"SKU-{n:02}", "here") for n in range(12)]
LOGS = st.lists(st.sampled_from(KEYS), max_size=80)


@given(LOGS, st.integers(0, 80), st.integers(0, 80), st.randoms(use_true_random=False))
def test_versions_that_count_alike_are_never_said_to_differ(
    log: list[RowKey], one: int, other: int, chance: random.Random
) -> None:
    old, new = (FakeSide(log, min(at, len(log)), chance) for at in (one, other))

    tally, found = compared(old, new)

    assert found == []
    assert tally.differ == 0


@given(
    LOGS,
    st.sets(st.integers(0, 79), max_size=3),
    st.dictionaries(st.sampled_from(KEYS), st.integers(1, 3), max_size=3),
    st.randoms(use_true_random=False),
)
def test_every_difference_is_found_and_is_one_at_the_position_that_is_named(
    log: list[RowKey], blind: set[int], wrong: dict[RowKey, int], chance: random.Random
) -> None:
    old, new = (FakeSide(log, len(log) * 2 // 3, chance) for _ in range(2))
    old.blind, new.wrong = blind, wrong

    tally, found = compared(old, new)

    for one in found:
        key = one.sku, one.location
        if one.position:
            at = int(one.position.rpartition("@")[2]) + 1
            assert (one.old, one.new) == (old.stock(at).get(key), new.stock(at).get(key))
        else:
            assert one.old
            assert one.new
            assert (one.old.events, one.old.checksum) == (one.new.events, one.new.checksum)
    told = {(one.sku, one.location) for one in found}
    ends = old.stock(len(log)), new.stock(len(log))
    begun = old.stock(len(log) * 2 // 3).keys() | new.stock(len(log) * 2 // 3).keys()
    differ = {key for key in begun if ends[0].get(key) != ends[1].get(key)}
    # A row that is about to differ may not have done so when it was compared.
    late = {log[offset] for offset in blind if len(log) * 2 // 3 <= offset < len(log)}
    assert differ - late <= told or tally.moving
    assert told <= {
        key for key in ends[0].keys() | ends[1].keys() if ends[0].get(key) != ends[1].get(key)
    }


def test_a_row_that_changes_faster_than_it_can_be_read_is_moving_not_different() -> None:
    class Restless(FakeSide):
        def _rows(self) -> dict[RowKey, Row]:
            self.at = min(len(self.log), self.at + 2)
            return self.stock(self.at)

    log = [KEYS[0]] * 1_000
    old, new = Restless(log, 10, random.Random(1)), Restless(log, 11, random.Random(1))
    new.blind = {0}  # so that no two of them ever have the same events

    tally, found = compared(old, new)

    assert (tally, found) == (Tally(moving=1), [])


@pytest.mark.parametrize("next_worker", [lambda worker: worker + "x", lambda _: SEVERAL])
def test_an_answer_of_another_worker_in_between_settles_nothing(
    next_worker: Callable[[str], str],
) -> None:
    class Moved(FakeSide):
        async def page(self, partition: int, place: RowKey) -> RowPage:
            self.worker = next_worker(self.worker)
            return await super().page(partition, place)

        async def look(self, partition: int, keys: Iterable[RowKey], floor: str = "") -> FoundKeys:
            self.worker = next_worker(self.worker)
            return await super().look(partition, keys, floor)

    log = [KEYS[0]] * 3
    old, new = Moved(log, 3, random.Random(1)), FakeSide(log, 3, random.Random(1))
    new.blind = {0}

    assert compared(old, new) == (Tally(moving=1), [])


def test_of_a_position_is_what_was_read_before_it_was_told_and_after() -> None:
    class Scripted(FakeSide):
        """What it has counted when it tells its position, and when it reads its rows."""

        script: Iterator[tuple[int, int]]

        def _rows(self) -> dict[RowKey, Row]:
            return self.stock(self.at)

        async def look(self, partition: int, keys: Iterable[RowKey], floor: str = "") -> FoundKeys:
            told, self.at = next(self.script)
            rows = {key: row for key, row in self._rows().items() if key in [*keys]}
            return FoundKeys(rows, f"sales-0@{told - 1}", self.worker)

    log = [KEYS[0]] * 6
    old, new = (Scripted(log, 3, random.Random(1)) for _ in range(2))
    old.script = iter([(3, 5), (5, 5), (5, 5)])
    new.script = iter([(4, 5), (5, 5), (6, 6)])
    new.blind = {0, 5}  # so that it is the same row at 5 and at 6

    [found] = compared(old, new)[1]

    assert found.position == "sales-0@4"
    assert (found.old, found.new) == (old.stock(5)[KEYS[0]], new.stock(5)[KEYS[0]])


def test_rows_of_the_same_bytes_are_counted_without_being_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = KEYS * 3
    old, new = (FakeSide(log, len(log), random.Random(1)) for _ in range(2))
    new.wrong[KEYS[3]] = 1
    decoded: list[bytes] = []

    def decode(stored: bytes) -> Row:
        decoded.append(stored)
        return decode_row(stored)

    monkeypatch.setattr("app.upgrades.diff.comparing.decode_row", decode)

    assert compared(old, new)[0] == Tally(equal=len(KEYS) - 1, differ=1)
    assert len(decoded) == 2


def test_a_row_that_is_written_in_other_bytes_is_no_other_row() -> None:
    class Wordy(FakeSide):
        """Of a build that also writes what is 0."""

        async def page(self, partition: int, place: RowKey) -> RowPage:
            page = await super().page(partition, place)
            wordy = [(key, row[:-1] + b',"damaged":0}') for key, row in page.pairs()]
            return page_holding(wordy, page.reach, page.worker)

    log = KEYS * 3
    old, new = (side(log, len(log), random.Random(1)) for side in (FakeSide, Wordy))

    assert compared(old, new) == (Tally(equal=len(KEYS)), [])


def test_a_row_whose_bytes_are_none_is_what_its_worker_says_when_it_is_asked() -> None:
    class Damaged(FakeSide):
        async def page(self, partition: int, place: RowKey) -> RowPage:
            page = await super().page(partition, place)
            return page_holding([(key, b"{") for key, _ in page.pairs()], page.reach, page.worker)

    log = KEYS * 3
    old, new = (side(log, len(log), random.Random(1)) for side in (FakeSide, Damaged))
    old.wrong[KEYS[3]] = 1

    tally, found = compared(old, new)

    assert tally == Tally(equal=len(KEYS) - 1, differ=1)
    assert [(one.sku, one.old, one.new) for one in found] == [
        ("SKU-03", old.stock(len(log))[KEYS[3]], new.stock(len(log))[KEYS[3]])
    ]


def test_who_is_behind_is_asked_for_what_the_other_one_had() -> None:
    class Waiting(FakeSide):
        """It counts what it is asked for, and nothing by itself."""

        def _rows(self) -> dict[RowKey, Row]:
            return self.stock(self.at)

    log = KEYS * 3
    old, new = (Waiting(log, at, random.Random(1)) for at in (len(log), len(KEYS)))

    assert compared(old, new) == (Tally(equal=len(KEYS)), [])


def _takes_all_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "_side_by_side", lambda old, new, reach: (old.size, {}))


def _waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def looks(self: Comparing, partition: int, keys: list[RowKey], floor: str) -> Any:
        return [await side.look(partition, keys) for side in (self._old, self._new)]

    monkeypatch.setattr(Comparing, "looks", looks)


def _believes_any_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "_are_of_same_workers", lambda *reads: True)


@pytest.mark.parametrize(
    ("without", "test"),
    [
        (
            _takes_all_for_equal,
            test_a_row_whose_bytes_are_none_is_what_its_worker_says_when_it_is_asked,
        ),
        (_waits_for_nothing, test_who_is_behind_is_asked_for_what_the_other_one_had),
        (
            _believes_any_worker,
            partial(test_an_answer_of_another_worker_in_between_settles_nothing, lambda _: SEVERAL),
        ),
    ],
)
def test_a_comparison_that_is_built_wrong_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
    without: Callable[[pytest.MonkeyPatch], None],
    test: Callable[[], None],
) -> None:
    without(monkeypatch)
    with pytest.raises(AssertionError):
        test()


def test_rows_of_many_pages_are_settled_by_two_questions_to_either_side() -> None:
    asked = 0

    class Counted(FakeSide):
        async def look(self, partition: int, keys: Iterable[RowKey], floor: str = "") -> FoundKeys:
            nonlocal asked
            asked += 1
            return await super().look(partition, keys, floor)

    log = KEYS * 3
    old, new = (Counted(log, len(log), random.Random(1)) for _ in range(2))
    new.blind = {*range(len(KEYS))}  # the first event of each row

    tally, found = compared(old, new)

    assert tally == Tally(differ=len(KEYS))
    assert len(found) == len(KEYS)
    assert asked == 4


def test_rows_that_several_owners_gave_are_settled_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Moving(FakeSide):
        """Each page is of another owner."""

        pages = 0

        async def page(self, partition: int, place: RowKey) -> RowPage:
            self.pages += 1
            self.worker = f"http://w:{self.pages}"
            return await super().page(partition, place)

    groups: list[tuple[str, list[RowKey]]] = []

    class Watched(_Settling):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            groups.append((self._first.workers[0], sorted(self._open)))

    monkeypatch.setattr("app.upgrades.diff.comparing._Settling", Watched)
    log = KEYS * 3
    old, new = Moving(log, len(log), random.Random(1)), FakeSide(log, len(log), random.Random(1))
    new.blind = {*range(len(KEYS))}

    tally, found = compared(old, new)

    assert groups == [
        ("http://w:1", KEYS[:5]),
        ("http://w:2", KEYS[5:10]),
        ("http://w:3", KEYS[10:]),
    ]
    assert tally == Tally(differ=len(KEYS))
    assert {one.sku for one in found} == {sku for sku, _ in KEYS}


def test_rows_are_read_on_while_others_are_held_at_one_position() -> None:
    log = [*KEYS, *KEYS]

    class Last(FakeSide):
        """It has counted what it is asked to wait for only after all was read."""

        read_to_the_end = asyncio.Event()

        async def page(self, partition: int, place: RowKey) -> RowPage:
            page = await super().page(partition, place)
            if page.reach is None:
                self.read_to_the_end.set()
            return page

        async def look(self, partition: int, keys: Iterable[RowKey], floor: str = "") -> FoundKeys:
            async with asyncio.timeout(30):
                await self.read_to_the_end.wait()
            return await super().look(partition, keys, floor)

    old = FakeSide(log, len(log), random.Random(1))
    new = Last(log, len(log), random.Random(1))
    new.blind = {0}

    tally, found = compared(old, new)

    assert [one.sku for one in found] == ["SKU-00"]
    assert tally == Tally(equal=len(KEYS) - 1, differ=1)


def test_what_a_side_fails_with_is_what_the_comparison_fails_with() -> None:
    class Away(FakeSide):
        async def look(self, partition: int, keys: Iterable[RowKey], floor: str = "") -> FoundKeys:
            raise NotCompared("nobody answers")

    old = FakeSide(KEYS, len(KEYS), random.Random(1))
    new = Away(KEYS, len(KEYS), random.Random(1))
    new.blind = {0}

    with pytest.raises(NotCompared, match="nobody answers"):
        compared(old, new)
