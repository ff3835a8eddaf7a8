"""Who may be heard after a start: nobody who has forgotten, and everybody who has not."""

from hypothesis import given
from hypothesis import strategies as st
from sampan.actors.peer_memory import Life, PeerMemory

PEER = 2


def met(start=5, epoch=50, last=100):
    memory = PeerMemory()
    assert memory.judge(PEER, Life(start, epoch, 3, last), 0) == ""
    return memory


def test_a_later_start_with_all_that_was_acknowledged_is_heard():
    memory = met()
    memory.acknowledged(PEER, 120)
    assert memory.judge(PEER, Life(6, 60, 3, 120), 0) == ""
    assert memory.judge(PEER, Life(9, 90, 3, 120), 0) == "", "starts in between were not seen"


def test_the_same_start_is_heard_again():
    memory = met()
    memory.acknowledged(PEER, 120)
    assert memory.judge(PEER, Life(5, 50, 3, 100), 120) == ""


def test_a_number_that_was_there_already_is_a_copy():
    assert "start 5 has been seen" in met().judge(PEER, Life(5, 51, 3, 100), 0)
    assert "this is start 4" in met().judge(PEER, Life(4, 40, 3, 100), 0)


def test_a_log_that_ends_before_what_it_acknowledged_is_a_copy():
    memory = met()
    memory.acknowledged(PEER, 120)
    memory.acknowledged(PEER, 110)
    assert "index 119, and it had acknowledged index 120" in memory.judge(
        PEER, Life(6, 60, 3, 119), 0
    )
    assert memory.judge(PEER, Life(6, 60, 3, 120), 121) != "", "to the leader of its term"
    assert memory.judge(PEER, Life(6, 60, 3, 120), 0) == "", "a refused start leaves no trace"


def test_what_was_kept_is_known_again():
    memory = met()
    memory.acknowledged(PEER, 120)
    assert memory.changed
    again = PeerMemory(memory.packed())
    assert not memory.changed
    assert not again.changed
    assert again.judge(PEER, Life(5, 51, 3, 120), 0) != ""
    assert again.judge(PEER, Life(6, 60, 3, 119), 0) != ""
    assert again.judge(PEER, Life(6, 60, 3, 120), 0) == ""
    assert PeerMemory(b"").judge(PEER, Life(1, 1, 0, 0), 0) == ""


@given(st.lists(st.tuples(st.sampled_from(["ack", "start", "kept"]), st.integers(1, 50))))
def test_whoever_keeps_what_it_acknowledged_is_always_heard(steps):
    """Whatever this member has forgotten meanwhile."""
    memory, kept, last, start = PeerMemory(), b"", 0, 0
    for what, number in steps:
        if what == "ack":
            last += number
            memory.acknowledged(PEER, last)
        elif what == "start":
            start += 1
            assert memory.judge(PEER, Life(start, number, 1, last), last) == ""
        elif number % 2:
            kept = memory.packed()
        else:
            memory = PeerMemory(kept)
