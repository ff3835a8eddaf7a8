"""A link whose packets vanish without a word: in network namespaces, where they may be made."""

import os
import subprocess
import threading
import time

import pytest
import structlog
from sampan.hosts.ports import PeerPort
from sampan.transport.polling import Poller

from ..namespaces import enter, ip, why_not

CUT_S = 12.0
"""Left to itself the kernel would ask at 1, 3 and 7 s after it gave up the connection, and then
8 s later."""
BACK_S = 5.0
"""Once every 2 s is promised; a machine under load may need longer."""
WAIT_S = 60.0


@pytest.fixture
def namespaces():
    """Two of them with a cable between, 10.99.0.1 and 10.99.0.2."""
    names = [f"t{os.getpid()}{end}" for end in "ab"]
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        a, b = names
        ip("link", "add", "cable", "netns", a, "type", "veth", "peer", "cable", "netns", b)
        for name, address in ((a, "10.99.0.1/24"), (b, "10.99.0.2/24")):
            ip("-n", name, "address", "add", address, "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(why_not(error))
    finally:
        if len(made) < len(names):
            for name in made:
                ip("netns", "delete", name)
    yield names
    for name in names:
        ip("netns", "delete", name)


def send_into_nothing(namespace):
    """From now on what this end sends has a receiver that does not exist."""
    ip("-n", namespace, "neigh", "replace", "10.99.0.2", "lladdr", "02:00:00:00:00:99",
       "dev", "cable", "nud", "permanent")  # fmt: skip


def send_again(namespace):
    ip("-n", namespace, "neigh", "delete", "10.99.0.2", "dev", "cable")


def cut_and_heal(a, b):
    """Seconds from the end of the cut until a message arrives."""
    poller, arrived = Poller(), []
    enter(b)
    receiver = PeerPort("10.99.0.2:0", structlog.get_logger())
    enter(a)
    sender = PeerPort("10.99.0.1:0", structlog.get_logger())
    receiver.open(poller, arrived.append)
    sender.open(poller, lambda _: None)
    sender.linksc(("linksc", {2: (receiver.address, "")}))

    def run(enough):
        give_up = time.monotonic() + WAIT_S
        while not enough():
            assert time.monotonic() < give_up
            sender.linkc(("linkc", (2, [b"%f" % time.monotonic()])))
            poller.wait(0.02)
            sender.tick()
            receiver.tick()

    run(lambda: arrived)
    send_into_nothing(a)
    until = time.monotonic() + CUT_S
    run(lambda: time.monotonic() > until)
    assert not receiver._streams, "who is gone was not noticed"
    arrived.clear()
    healed = time.monotonic()
    send_again(a)
    run(lambda: arrived)
    sender.close()
    receiver.close()
    poller.close()
    return time.monotonic() - healed


def test_a_link_is_back_soon_after_a_silent_cut(namespaces):
    took = []
    # In a thread, which alone is in the namespaces.
    thread = threading.Thread(target=lambda: took.append(cut_and_heal(*namespaces)))
    thread.start()
    thread.join()
    print(f"the first message {took[0]:.2f} s after the cut")
    assert took[0] < BACK_S
