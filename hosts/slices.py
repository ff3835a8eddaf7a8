"""How soon the kernel lets a thread run that has just got something to do.

Linux 6.12 and later let a thread ask for a shorter time slice than others have (sched_setattr(2)
with a runtime). It may then interrupt them as soon as it wakes up, and gets no more of the
processor than before. Elsewhere nothing happens.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SHORT_NS = 100_000
"""The shortest that Linux gives; one to three milliseconds are usual."""

_CALLS = {"x86_64": 314, "aarch64": 274}
_SET_ATTR = _CALLS.get(platform.machine()) if sys.platform == "linux" else None
_ATTR = struct.Struct("=IIQiIQQQ")  # struct sched_attr, its first version
_KEEP_POLICY = 0x08
_REFUSED = (errno.EPERM, errno.EINVAL, errno.ENOSYS)


def ask(thread: int, slice_ns: int) -> bool:
    """Ask for a time slice for a thread of this process, 0 for the usual one.

    Returns whether the kernel took it. It does not for threads of a real-time policy and in some
    sandboxes, and older ones take it without effect: all of that costs time and nothing else.

    Raises:
        OSError: for a reason that is none of these, as that there is no such thread.
    """
    if _SET_ATTR is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, thread)
    attr = _ATTR.pack(_ATTR.size, 0, _KEEP_POLICY, nice, 0, slice_ns, 0, 0)
    if ctypes.CDLL(None, use_errno=True).syscall(_SET_ATTR, thread, attr, 0) == 0:
        return True
    number = ctypes.get_errno()
    if number not in _REFUSED:
        raise OSError(number, os.strerror(number), "sched_setattr")
    return False


@contextmanager
def short_in_new_threads() -> Iterator[None]:
    """Threads that this one starts meanwhile have short slices: they take theirs from it."""
    thread = threading.get_native_id()
    ask(thread, SHORT_NS)
    try:
        yield
    finally:
        ask(thread, 0)
