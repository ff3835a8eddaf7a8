import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.bench.histogram import Histogram, bucket_middle, bucket_of

nanoseconds = st.integers(min_value=0, max_value=3_600_000_000_000)
latencies = st.lists(nanoseconds, min_size=1, max_size=200)


def filled(values):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(nanoseconds)
def test_a_bucket_is_within_one_percent(value):
    assert abs(bucket_middle(bucket_of(value)) - value) <= value / 100


@given(nanoseconds, nanoseconds)
def test_buckets_keep_the_order(one, other):
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high)


@given(latencies, st.floats(min_value=0, max_value=100))
def test_percentiles_are_within_one_percent_of_the_sorted_list(values, percent):
    values.sort()
    # The smallest value that `percent` of all do not exceed.
    exact = next(
        value for rank, value in enumerate(values, start=1) if rank >= percent / 100 * len(values)
    )
    assert abs(filled(values).percentile(percent) - exact) <= exact / 100


@given(latencies, latencies)
def test_merging_counts_both(one, other):
    merged = filled(one)
    merged.merge(filled(other))
    together = filled(one + other)
    assert merged.to_json() == together.to_json()
    assert merged.count == len(one) + len(other)
    assert merged.max_ns == max(one + other)
    assert merged.mean_ns == sum(one + other) / len(one + other)


@given(latencies)
def test_json_brings_everything_back(values):
    histogram = filled(values)
    back = Histogram.from_json(json.loads(json.dumps(histogram.to_json())))
    assert back.to_json() == histogram.to_json()
    assert list(back.buckets()) == list(histogram.buckets())
    assert sum(count for _, count in back.buckets()) == len(values)


def test_nothing_has_no_latency():
    histogram = Histogram()
    assert (histogram.count, histogram.mean_ns, histogram.percentile(99), histogram.max_ns) == (
        0,
        0,
        0,
        0,
    )


def test_clocks_that_step_back_count_as_zero():
    assert filled([-5]).percentile(50) == 0


@pytest.mark.parametrize("percent", [-1, 100.1, float("nan")])
def test_a_percentile_is_a_percentage(percent):
    with pytest.raises(ValueError, match="between 0 and 100"):
        Histogram().percentile(percent)


@pytest.mark.parametrize("data", [{}, {"counts": [], "sum_ns": 1, "max_ns": 1}])
def test_other_json_is_refused(data):
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.from_json(data)
