import signal

import pytest


@pytest.fixture
def own_signals():
    """A host takes these over for the rest of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
