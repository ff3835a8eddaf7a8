"""What holds for the whole suite."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

# Shells let what they run in the background ignore Ctrl-C, and the programs that tests interrupt
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What the programs under test read from their environment is for the tests to say.
READ_BY_PROGRAMS = ("SAMPAN_", "SAMPANCTL_", "ETCD_", "ETCDCTL_")
for name in [name for name in os.environ if name.startswith(READ_BY_PROGRAMS)]:
    del os.environ[name]

# How fast examples are made says something of the machine, not of the test. On build servers, which
# hypothesis knows by a variable named CI, whatever its value, it would take the same examples for
# ever.
settings.register_profile(
    "sampan",
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(Path(__file__).parents[1] / ".hypothesis" / "examples"),
    print_blob=True,  # what failed elsewhere can be run here
)
settings.load_profile("sampan")


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
