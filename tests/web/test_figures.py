"""What two answers of a member in turn mean."""

import pytest
from sampan.web.figures import Answer, figures, quantile

from .fakes import measured


def test_rates_and_shares_are_of_the_time_between_two_answers():
    counts = {"propc": 10, "recvc": 30}
    before = Answer(5.0, measured(turns=10, busy_s=1.0, messages=counts, requests=100, commit=7,
                                  process=(9, 2.0)))  # fmt: skip
    counts = {"propc": 30, "recvc": 70}
    now = Answer(7.0, measured(turns=30, busy_s=1.5, messages=counts, requests=300, commit=17,
                               process=(9, 3.0), puts=60))  # fmt: skip
    shown = figures(now, before)
    assert (shown["requests_s"], shown["writes_s"], shown["entries_s"]) == (100, 30, 5)
    assert shown["channels"]["propc>raft_core"] == 10
    assert shown["writes_an_entry"] == 3
    assert shown["actors"]["node"] == {
        "busy": 0.25, "cpu": 0.5, "process": 9, "turns": 10, "batch": 3, "queue": 7,
        "longest_s": 0.0,
    }  # fmt: skip
    assert shown["commit"] == 17


@pytest.mark.parametrize(
    "before",
    [None, Answer(5.0, measured(turns=100)), Answer(8.0, measured(turns=1))],
    ids=["the first answer", "its node has started since", "the clock stands still"],
)
def test_what_is_not_known_is_not_guessed(before):
    shown = figures(Answer(8.0, measured(turns=30, requests=9, role="leader")), before)
    assert shown["role"] == "leader"
    assert (
        shown["requests_s"] is shown["entries_a_fsync"] is shown["actors"]["node"]["busy"] is None
    )


def test_nothing_happened_is_not_a_division_by_nothing():
    before, now = (Answer(at, measured(turns=3, commit=4)) for at in (1.0, 2.0))
    shown = figures(now, before)
    assert (shown["entries_s"], shown["entries_a_fsync"]) == (0.0, None)
    assert shown["actors"]["node"]["batch"] is None


@pytest.mark.parametrize(
    ("share", "now", "before", "found"),
    [
        (0.5, (0.001, 0.0, [1, 1, 0]), None, 0.001),
        (0.99, (0.001, 0.0, [1, 1, 0]), None, 0.002),
        (0.5, (0.001, 0.0, [9, 1, 0]), (0.001, 0.0, [9, 0, 0]), 0.002),
        (0.5, (0.001, 0.0, [0, 0, 5]), None, 0.004),
        (0.5, (0.001, 0.0, [3, 0, 0]), (0.001, 0.0, [3, 0, 0]), None),
        (0.5, None, None, None),
    ],
)
def test_quantiles_are_bounds_of_buckets(share, now, before, found):
    assert quantile(share, now, before) == found
