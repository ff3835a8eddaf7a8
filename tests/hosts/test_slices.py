"""Time slices, as the kernel tells of them."""

import ctypes
import os
import platform
import threading

import pytest
from sampan.actors import channels
from sampan.actors.actor import Actor
from sampan.hosts import slices
from sampan.hosts.host import Fatal, Host

GET_ATTR = {"x86_64": 315, "aarch64": 275}


def slice_of(thread):
    """What Linux 6.12 and later say, in nanoseconds; 0 from earlier ones."""
    attr = ctypes.create_string_buffer(slices._ATTR.size)
    number = GET_ATTR[platform.machine()]
    assert ctypes.CDLL(None).syscall(number, thread, attr, len(attr), 0) == 0
    return slices._ATTR.unpack(attr.raw)[5]


def takes_slices():
    return slices._SET_ATTR is not None and slice_of(0) > 0


on_linux = pytest.mark.skipif(not takes_slices(), reason="Linux 6.12 or later has them")


def in_a_thread(work):
    """A thread that ends with it: this one keeps what it has."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work(threading.get_native_id())))
    thread.start()
    thread.join()
    return results[0]


@on_linux
def test_a_thread_gets_a_short_slice_and_the_usual_one_again():
    def work(thread):
        usual = slice_of(thread)
        os.setpriority(os.PRIO_PROCESS, thread, 5)
        seen = [slices.ask(thread, slices.SHORT_NS), slice_of(thread) == slices.SHORT_NS]
        seen += [slices.ask(thread, 0), slice_of(thread) == usual]
        return seen, os.getpriority(os.PRIO_PROCESS, thread)

    assert in_a_thread(work) == ([True] * 4, 5)


@on_linux
@on_linux
def test_what_the_kernel_refuses_is_no_failure():
    """A real-time thread has no slices."""

    def work(thread):
        try:
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
        except PermissionError:
            return False
        return slices.ask(thread, slices.SHORT_NS)

    assert not in_a_thread(work)


@on_linux
def test_a_thread_that_is_not_there_is_a_mistake():
    with pytest.raises(ProcessLookupError):
        slices.ask(1 << 23, slices.SHORT_NS)  # above the highest number that Linux gives


def test_other_systems_take_none(monkeypatch):
    monkeypatch.setattr(slices, "_SET_ATTR", None)
    assert not slices.ask(threading.get_native_id(), slices.SHORT_NS)


@on_linux
def test_new_threads_have_short_slices_and_this_one_has_its_own_again():
    def work(thread):
        usual = slice_of(thread)
        with slices.short_in_new_threads():
            new = in_a_thread(slice_of)
        return new, slice_of(thread) == usual

    assert in_a_thread(work) == (slices.SHORT_NS, True)


class Core(Actor):
    name = channels.RAFT_CORE

    def __init__(self, role):
        super().__init__()
        self._role = role

    def start(self):
        self.emit("softstatec", (1, 1, self._role))


class Node(Actor):
    name = channels.NODE

    def on_softstatec(self, _message):
        self.emit("fatalc", slice_of(threading.get_native_id()))


@on_linux
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_leaders_loop_has_a_short_slice(own_signals, role):
    usual = slice_of(0)
    try:
        with pytest.raises(Fatal) as ended:
            Host([Core(role), Node()], parent_pid=os.getppid()).run()
    finally:
        slices.ask(threading.get_native_id(), 0)
    assert ended.value.args[0] == (slices.SHORT_NS if role == "leader" else usual)
