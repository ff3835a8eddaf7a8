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
