"""Network namespaces for tests, where they may be made."""

import ctypes
import subprocess
from contextlib import contextmanager

_NEW_NET = 0x40000000


def ip(*arguments):
    """What an `ip` command says."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def enter(namespace):
    """Make this thread's next sockets there, and those of threads that it starts."""
    _enter(f"/run/netns/{namespace}")


def _enter(path):
    with open(path, "rb") as file:
        assert ctypes.CDLL(None).setns(file.fileno(), _NEW_NET) == 0


@contextmanager
def within(namespace):
    """`enter`, and come back."""
    with open("/proc/thread-self/ns/net", "rb") as before:
        enter(namespace)
        try:
            yield
        finally:
            _enter(f"/proc/self/fd/{before.fileno()}")


def why_not(error):
    """The reason for a test to be skipped when namespaces cannot be made."""
    return f"no network namespaces here: {getattr(error, 'stderr', '') or error}"
