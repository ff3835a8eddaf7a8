import signal

import pytest


class SilentLog:
    """A logger that remembers its events."""

    def __init__(self):
        self.events = []

    def _note(self, event, **values):
        self.events.append((event, values))

    debug = info = warning = error = _note


@pytest.fixture
def log():
    return SilentLog()


@pytest.fixture
def own_signals():
    """A host takes these over for the rest of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
