"""Durations are told as prometheus_client would tell them."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from tables.stats import COMMIT_BUCKETS_S, Durations


@given(st.lists(st.one_of(st.sampled_from(COMMIT_BUCKETS_S), st.floats(0, 100))))
def test_buckets_are_those_of_the_library(seconds: list[float]) -> None:
    theirs = Histogram("x", "x", buckets=COMMIT_BUCKETS_S, registry=CollectorRegistry())
    ours = Durations(COMMIT_BUCKETS_S)
    for each in seconds:
        theirs.observe(each)
        ours.observe(each)

    [family] = theirs.collect()
    told = {s.labels.get("le", s.name): s.value for s in family.samples}
    assert list(ours.buckets()) == [(le, told[le]) for le, _ in ours.buckets()]
    assert (ours.count, ours.seconds) == (told["x_count"], told["x_sum"])
