"""Who gets which partition, for any history of workers that come, go and die."""

from collections.abc import Mapping
from itertools import combinations
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.group.placement import STILL_WARM, WARM, Duties, Holdings, place

Group = dict[str, Holdings]
Placed = dict[str, Duties]


def after(placed: Placed, reached: int = 100) -> Group:
    """What the workers hold once they have done what they were given."""
    return {
        name: Holdings(
            duty.actives, duty.standbys, dict.fromkeys(duty.actives | duty.standbys, reached)
        )
        for name, duty in placed.items()
    }


def of(
    *actives: int, standbys: tuple[int, ...] = (), copies: dict[int, int] | None = None
) -> Holdings:
    """A worker that owns and follows these, with a copy of each, and perhaps others."""
    known = dict.fromkeys((*actives, *standbys), 100)
    return Holdings(frozenset(actives), frozenset(standbys), (copies or {}) | known)


def owners(placed: Mapping[str, Duties]) -> dict[int, str]:
    return {p: name for name, duty in placed.items() for p in duty.actives}


def moved(group: Group, placed: Placed) -> int:
    """How many left a living owner."""
    return sum(len(worker.actives - placed[name].actives) for name, worker in group.items())


def cold(group: Group, placed: Placed) -> set[int]:
    """Partitions whose owner has no copy."""
    return {p for p, name in owners(placed).items() if p not in group[name].copies}


def spread(counts: list[int]) -> int:
    return max(counts) - min(counts)


# ---- any history

NAMES = [f"w{n}" for n in range(7)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, list[set[str]]]:
    """Partitions, standbys, and who is a member at each rebalance."""
    partitions, standbys = draw(st.integers(1, 13)), draw(st.integers(0, 3))
    some = st.sets(st.sampled_from(NAMES), min_size=1)
    return partitions, standbys, draw(st.lists(some, min_size=1, max_size=5))


@given(histories())
def test_after_any_history_all_is_placed_and_balanced_and_no_copy_is_beside_another(
    history: tuple[int, int, list[set[str]]],
) -> None:
    partitions, standbys, rebalances = history
    group: Group = {}
    for members in rebalances:
        group = {name: group.get(name, Holdings()) for name in members}
        placed = place(group, partitions, standbys)

        assert sorted(p for duty in placed.values() for p in duty.actives) == [*range(partitions)]
        assert spread([len(duty.actives) for duty in placed.values()]) <= 1
        followers = [p for duty in placed.values() for p in duty.standbys]
        each = min(standbys, len(members) - 1)
        assert sorted(followers) == sorted([*range(partitions)] * each)
        for duty in placed.values():
            assert not duty.actives & duty.standbys
        loads = [len(duty.actives | duty.standbys) for duty in placed.values()]
        assert spread(loads) <= 1
        assert place(after(placed), partitions, standbys) == placed, "nobody came or went"
        group = after(placed)


@given(histories())
def test_as_few_as_possible_move_where_nobody_died(
    history: tuple[int, int, list[set[str]]],
) -> None:
    partitions, standbys, rebalances = history
    members: set[str] = set()
    group: Group = {}
    for newcomers in rebalances:
        members |= newcomers
        group = {name: group.get(name, Holdings()) for name in members}
        placed = place(group, partitions, standbys)
        if any(worker.actives for worker in group.values()):
            assert moved(group, placed) == least_moves(group, partitions)
        group = after(placed)


def least_moves(group: Group, partitions: int) -> int:
    """What balance alone demands, if the biggest owners may have the odd ones."""
    least, odd = divmod(partitions, len(group))
    owned = sorted((len(worker.actives) for worker in group.values()), reverse=True)
    return sum(max(0, n - least - (rank < odd)) for rank, n in enumerate(owned))


@given(histories(), st.data())
def test_after_a_death_as_many_partitions_as_balance_allows_have_an_owner_with_a_copy(
    history: tuple[int, int, list[set[str]]], data: st.DataObject
) -> None:
    partitions, standbys, rebalances = history
    group: Group = {}
    for members in rebalances:
        group = after(place({n: group.get(n, Holdings()) for n in members}, partitions, standbys))
    assume(len(group) > 1)
    del group[data.draw(st.sampled_from(sorted(group)))]

    placed = place(group, partitions, standbys)

    assert partitions - len(cold(group, placed)) == most_with_a_copy(group, partitions)


def most_with_a_copy(group: Group, partitions: int) -> int:
    """By trying: who has the odd ones, and then a maximum matching (Kuhn's) of that."""
    least, odd = divmod(partitions, len(group))
    return max(
        matched(group, partitions, [name for name in group for _ in range(least + (name in more))])
        for more in combinations(group, odd)
    )


def matched(group: Group, partitions: int, places: list[str]) -> int:
    taken: dict[int, int] = {}

    def settle(p: int, tried: set[int]) -> bool:
        for place_ in range(len(places)):
            if p in group[places[place_]].copies and place_ not in tried:
                tried.add(place_)
                if place_ not in taken or settle(taken[place_], tried):
                    taken[place_] = p
                    return True
        return False

    return sum(settle(p, set()) for p in range(partitions))


@given(histories(), st.randoms(use_true_random=False))
def test_the_same_members_in_another_order_get_the_same(
    history: tuple[int, int, list[set[str]]], random: Random
) -> None:
    partitions, standbys, rebalances = history
    group: Group = {}
    for members in rebalances:
        shuffled = sorted(members)
        random.shuffle(shuffled)
        mixed = {name: group.get(name, Holdings()) for name in shuffled}

        placed = place(mixed, partitions, standbys)

        assert placed == place(dict(sorted(mixed.items())), partitions, standbys)
        group = after(placed)


# ---- cases


@pytest.mark.parametrize("workers", range(1, 14))
def test_every_worker_up_to_one_for_each_partition_has_work(workers: int) -> None:
    """Faust's gives a fifth worker none of 12: four hold three each, as many as it allows."""
    group: Group = {}
    for n in range(workers):
        group[f"w{n:02}"] = Holdings()
        placed = place(group, 12, 1)
        group = after(placed)

    counts = [len(duty.actives) for duty in placed.values()]
    assert spread(counts) <= 1
    assert min(counts) == 12 // workers


@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "one-by-one"])
@pytest.mark.parametrize("partitions", [12, 48])
@pytest.mark.parametrize("workers", [2, 3, 4, 5, 7, 12])
def test_each_worker_of_a_settled_group_may_die_and_every_partition_has_an_owner_with_a_copy(
    workers: int, partitions: int, at_once: bool
) -> None:
    """Faust's leaves 1 or 2 of 4 without with 3 workers and 12 partitions."""
    settled: Group = {f"w{n:02}": Holdings() for n in range(workers if at_once else 1)}
    settled = after(place(settled, partitions, 1))
    for n in range(len(settled), workers):
        settled = after(place(settled | {f"w{n:02}": Holdings()}, partitions, 1))
    for dead in settled:
        left = {name: held for name, held in settled.items() if name != dead}
        placed = place(left, partitions, 1)

        assert cold(left, placed) == set()
        if partitions % workers == partitions % (workers - 1) == 0:
            assert moved(left, placed) == 0


def test_a_partition_goes_to_its_standby_even_if_that_one_has_to_give_another_to_its_own() -> None:
    # w1 owns as much as it may; 0 can only go there, and 1 can go from there to w2.
    group = {"w1": of(1, 2, standbys=(0,)), "w2": of(3, standbys=(1,))}

    placed = place(group, 4, 1)

    assert owners(placed) == {0: "w1", 1: "w2", 2: "w1", 3: "w2"}


def test_of_two_copies_the_fuller_one_takes_over() -> None:
    group = {
        "w1": of(1, copies={0: 40}),
        "w2": of(2, copies={0: 90}),
        "w3": of(3, copies={0: 0}),
    }

    assert owners(place(group, 4, 1))[0] == "w2"


def test_a_worker_that_came_back_gets_what_lies_on_its_disk() -> None:
    both = after(place({"w1": Holdings(), "w2": Holdings()}, 12, 1))
    mine = both["w2"].actives
    alone = after(place({"w1": both["w1"]}, 12, 1))
    # A third one is new and has nothing; no offset is known of a store not opened yet.
    group = {**alone, "w2": Holdings(copies=dict.fromkeys(mine, 0)), "w0": Holdings()}

    placed = place(group, 12, 1)

    assert placed["w2"].actives < mine
    assert len(cold(group, placed)) == 4  # those of w0, which has nothing


def test_what_a_new_worker_takes_is_followed_by_the_one_that_had_it() -> None:
    alone = after(place({"w1": Holdings()}, 12, 1))

    placed = place(alone | {"w2": Holdings()}, 12, 1)

    assert placed["w1"].standbys == placed["w2"].actives


def test_of_two_that_call_themselves_owner_the_one_ahead_stays_it() -> None:
    slept = Holdings(frozenset({0, 1}), copies={0: 50, 1: 50})
    awake = Holdings(frozenset({0, 1}), copies={0: 70, 1: 50})
    third = Holdings(frozenset({2, 3}), copies={2: 9, 3: 9})

    placed = place({"a": slept, "b": awake, "c": third}, 4, 0)

    assert owners(placed)[0] == "b"
    assert owners(placed)[1] == "a"


def test_the_standbys_of_one_worker_are_shared_by_all_others() -> None:
    placed = place({f"w{n}": Holdings() for n in range(4)}, 48, 1)

    for name, duty in placed.items():
        shares = [len(duty.actives & other.standbys) for n, other in placed.items() if n != name]
        assert shares == [4, 4, 4]


@pytest.mark.parametrize("on_disk", [{}, dict.fromkeys(range(12), 5)], ids=["no", "old"])
def test_standbys_stay_where_they_are_rather_than_be_restored_or_go_to_stores_of_old(
    on_disk: dict[int, int],
) -> None:
    """Each follows all of one other worker: balanced, and not what would be chosen anew."""
    a, b, c = tuple(range(4)), tuple(range(4, 8)), tuple(range(8, 12))
    group = {
        "w1": of(*a, standbys=c, copies=on_disk),
        "w2": of(*b, standbys=a, copies=on_disk),
        "w3": of(*c, standbys=b, copies=on_disk),
    }

    placed = place(group, 12, 1)

    assert {name: duty.standbys for name, duty in placed.items()} == {
        name: worker.standbys for name, worker in group.items()
    }


def test_of_two_copies_the_fuller_one_follows() -> None:
    group = {"w1": of(0), "w2": Holdings(copies={0: 40}), "w3": Holdings(copies={0: 90})}

    assert place(group, 1, 1)["w3"].standbys == {0}


def test_more_workers_than_partitions_leave_some_without_an_owner_but_with_standbys() -> None:
    placed = place({f"w{n}": Holdings() for n in range(5)}, 2, 2)

    assert sorted(len(duty.actives) for duty in placed.values()) == [0, 0, 0, 1, 1]
    assert sum(len(duty.standbys) for duty in placed.values()) == 4


# ---- long tables: what takes a while to restore

LONG = 1_500_000


def test_what_a_new_worker_would_have_to_restore_stays_until_its_copy_is_warm() -> None:
    alone = after(place({"w1": Holdings()}, 12, 1), LONG)

    placed = place(alone | {"w2": Holdings()}, 12, 1)

    assert owners(placed) == dict.fromkeys(range(12), "w1")
    assert placed["w2"].standbys == {*range(12)}
    assert len(placed["w2"].warming) == 6

    warm = dict.fromkeys(range(12), LONG - LONG // 20)
    told = alone | {"w2": Holdings(standbys=placed["w2"].standbys, copies=warm)}
    placed = place(told, 12, 1)

    assert [len(duty.actives) for duty in placed.values()] == [6, 6]
    assert placed["w1"].standbys == placed["w2"].actives
    assert not any(duty.warming for duty in placed.values())


@pytest.mark.parametrize("standbys", [0, 1, 2])
def test_workers_that_join_while_all_is_restored_take_nothing_from_who_restores(
    standbys: int,
) -> None:
    """Each joins when the ones before have come a fifth further."""
    group: Group = {}
    restored_by: dict[int, set[str]] = {p: set() for p in range(12)}
    for n in range(4):
        group[f"w{n}"] = Holdings()
        placed = place(group, 12, standbys)
        for p, name in owners(placed).items():
            restored_by[p].add(name)
        group = {
            name: Holdings(
                placed[name].actives,
                placed[name].standbys,
                {**held.copies}
                | {
                    p: held.copies.get(p, 0) + LONG // 5
                    for p in placed[name].actives | placed[name].standbys
                },
            )
            for name, held in group.items()
        }

    assert restored_by == {p: {"w0"} for p in range(12)}
    placed = place(group, 12, standbys)
    assert [len(duty.warming) for duty in placed.values()] == [0, 3, 3, 3]
    assert all(duty.warming <= duty.standbys for duty in placed.values())
    settled = place(after(placed, LONG), 12, standbys)
    assert [len(duty.actives) for duty in settled.values()] == [3, 3, 3, 3]
    assert not any(duty.warming for duty in settled.values())


@given(histories(), st.data())
def test_with_any_copies_nothing_goes_to_a_cold_one_and_once_warm_all_are_balanced(
    history: tuple[int, int, list[set[str]]], data: st.DataObject
) -> None:
    partitions, standbys, rebalances = history
    lengths = st.dictionaries(st.integers(0, partitions - 1), st.integers(0, LONG))
    group: Group = {}
    for members in rebalances:
        group = {
            name: Holdings(held.actives, held.standbys, data.draw(lengths))
            for name in sorted(members)
            for held in [group.get(name, Holdings())]
        }
        placed = place(group, partitions, standbys)

        for p, name in owners(placed).items():
            fullest = max(held.copies.get(p, 0) for held in group.values())
            lacks = fullest - group[name].copies.get(p, 0)
            assert lacks <= max(WARM, min(STILL_WARM, fullest / 20))
        for duty in placed.values():
            assert not duty.actives & duty.standbys
            assert duty.warming <= duty.standbys
        for p in range(partitions):
            extra = any(p in duty.warming for duty in placed.values())
            each = sum(p in duty.standbys for duty in placed.values())
            assert 0 <= each - min(standbys, len(members) - 1) <= extra
        warm = place(after(placed, LONG), partitions, standbys)
        if any(duty.warming for duty in placed.values()):
            assert spread([len(duty.actives) for duty in warm.values()]) <= 1
        assert not any(duty.warming for duty in warm.values())
        group = after(warm, LONG)
