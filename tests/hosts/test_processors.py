"""Which processor a node gets on a machine that it shares with others of its cluster."""

import os
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.hosts import processors

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux lets processes choose")


@given(st.sets(st.integers(0, 500), min_size=2, max_size=9), st.integers(1, 6))
def test_few_processors_are_shared_evenly_by_neighbours(available, more):
    nodes = len(available) + more
    shares = processors.share(sorted(available), nodes)
    places = [share.messages for share in shares]
    assert set(places) == available
    sizes = [places.count(processor) for processor in available]
    assert max(sizes) - min(sizes) <= 1
    changes = sum(a != b for a, b in pairwise(places))
    assert changes == len(available) - 1, "who has the same one stands together"
    assert [share.log == share.messages for share in shares] == [False] + [True] * (nodes - 1)
    assert shares[0].log in available


@pytest.mark.parametrize(("count", "nodes"), [(0, 3), (1, 3), (3, 3), (8, 3), (2, 1)])
def test_the_kernel_chooses_where_there_is_no_choice_or_enough(count, nodes):
    assert processors.share(list(range(count)), nodes) == [(None, None)] * nodes


def test_clusters_do_not_all_begin_on_the_same():
    firsts = {processors.share([3, 5], 3)[0] for _ in range(100)}
    assert firsts == {(3, 5), (5, 3)}


def in_a_process(code):
    """This one keeps what it has."""
    lines = f"import os, threading\nfrom sampan.hosts import processors\n{code}"
    run = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return run.stdout.split()


@on_linux
def test_a_process_stays_with_the_threads_that_it_starts():
    there = processors.available()[-1]
    code = f"""
print(processors.stay_on({there}))
threading.Thread(target=lambda: print(*os.sched_getaffinity(0))).start()
"""
    assert in_a_process(code) == ["True", str(there)]


@on_linux
def test_a_refusal_is_told():
    absent = os.cpu_count() + 4096
    assert in_a_process(f"print(processors.stay_on({absent}))") == ["False"]
