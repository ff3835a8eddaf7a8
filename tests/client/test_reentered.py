"""The blocking client, called from within its own calls: every call ends in its time."""

import gc
import signal
import threading

import pytest
from sampan.client import Client, errors, sync

from .fake_node import SILENCE
from .scenario import LONG_S

CALLS = 300


def test_calls_from_a_signal_handler_within_calls(node):
    """The signal comes at another point of a call each time."""
    handled = []

    with Client([node.endpoint], timeout_s=LONG_S) as client:
        client.put("k", "v")

        def handler(*_):
            client.get("k", serializable=True)
            client.put("handled", "once more")
            handled.append(1)

        before = signal.signal(signal.SIGALRM, handler)
        try:
            i = 0
            while len(handled) < CALLS:
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + 0.000007 * (i % 97))
                client.get("k", serializable=True)
                i += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_closes_what_it_interrupts(node):
    client = Client([node.endpoint], timeout_s=LONG_S)
    client.put("k", "v")
    watch = client.watch("k")
    lease_lost = []

    def handler(*_):
        watch.cancel()
        client.close()
        lease_lost.append(1)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with watch:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert list(watch) == []
        assert lease_lost
        with pytest.raises(errors.ClientClosedError):
            client.get("k")
    finally:
        signal.signal(signal.SIGALRM, before)


class Resource:
    """In a cycle, so that the collector finalizes it, in whichever thread it runs."""

    def __init__(self, finalize):
        self.me = self
        self.finalize = finalize

    def __del__(self):
        self.finalize()


def collect_in_the_loop(client, finalize):
    """Have the collector run the finalizer in the client's background thread."""
    done = threading.Event()

    def run():
        Resource(finalize)
        gc.collect()
        done.set()

    client._loop.call_threadsafe(run)
    return done


def test_a_finalizer_in_the_clients_own_thread_may_call(node):
    found = []
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        client.put("k", "v")

        def finalize():
            found.append(threading.current_thread().name)
            found.append(client.delete("k").deleted)
            with client.watch("k") as watch:
                found.append(watch.revision > 0)

        collect_in_the_loop(client, finalize).wait()
        assert found == ["sampan-client", 1, True]
        assert client.get("k").count == 0


def test_a_finalizer_in_the_clients_own_thread_may_close_it(node):
    client = Client([node.endpoint], timeout_s=LONG_S)
    collect_in_the_loop(client, client.close).wait()
    with pytest.raises(errors.ClientClosedError):
        client.put("k", "v")


def test_others_call_while_a_finalizer_waits(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        client.put("k", "v")
        other = threading.Thread(target=lambda: client.put("k", "other"))

        def behave(header, requests):
            """Answers the finalizer's read when the other thread has had its own answer."""
            if header[2] == "read":
                other.start()
                node.behave = lambda header, requests: None
                return SILENCE
            return None

        def finalize():
            node.behave = behave
            with pytest.raises(errors.ReadTimeoutError):
                client.get("k", timeout_s=2.0)
            other.join()  # which the client's own thread could not have answered

        collect_in_the_loop(client, finalize).wait()
        assert client.get("k").kvs[0].value == b"other"


def test_a_call_ends_in_its_time_though_the_clients_thread_does_not_go_on(node, monkeypatch):
    monkeypatch.setattr(sync, "LATE_S", 0.0)
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        client.put("k", "v")
        goes_on = threading.Event()
        done = collect_in_the_loop(client, goes_on.wait)
        with pytest.raises(errors.ReadTimeoutError):
            client.get("k", timeout_s=0.1)
        with pytest.raises(errors.RequestTimeoutError):
            client.put("k", "v", timeout_s=0.1)
        goes_on.set()
        done.wait()
        client.put("k", "v")
