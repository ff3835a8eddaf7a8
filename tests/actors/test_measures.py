"""What actors count of themselves."""

import pytest
from sampan.actors.measures import Histogram, Load


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.001, 0), (0.0011, 1), (0.002, 1), (0.004, 2), (0.0041, 3), (100.0, 3)],
)
def test_a_duration_is_counted_below_the_first_bound_that_it_does_not_exceed(seconds, bucket):
    histogram = Histogram(0.001, 3)
    histogram.observe(seconds)
    first_s, sum_s, counts = histogram.told()
    assert (first_s, sum_s, counts) == (0.001, seconds, [int(i == bucket) for i in range(4)])


def test_a_load_tells_its_longest_turn_and_queue_once():
    load = Load()
    load.note(0.5, waiting=3)
    load.note(0.25, waiting=7)
    load.messages["readyc"] += 1
    told = load.told()
    assert (told["turns"], told["busy_s"], told["longest_s"]) == (2, 0.75, 0.5)
    assert told["messages"] == {"readyc": 1}
    assert told["queue_longest"] == 7
    again = load.told()
    assert (again["longest_s"], again["queue_longest"]) == (0.0, 0)
