"""What the processes of a node take of the machine, added up. Linux only; else nothing is told."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class Taken(NamedTuple):
    """Of all processes together."""

    cpu_s: float
    resident_bytes: int
    virtual_bytes: int
    open_files: int


def resident_bytes() -> int:
    """The memory of this process; 0 where nobody tells."""
    try:
        return int((_PROC / "self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def taken_by(pids: Iterable[int]) -> Taken | None:
    """What processes take; None where nobody tells. One that has ended takes nothing."""
    if not (_PROC / "self/stat").exists():
        return None
    cpu_s, resident, virtual, files = 0.0, 0, 0, 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            # proc(5): after the name, which may hold anything, come the fields from the third on.
            fields = (_PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()
            cpu_s += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
            virtual += int(fields[20])
            resident += int(fields[21]) * _PAGE_BYTES
            files += len(os.listdir(_PROC / f"{pid}/fd"))
    return Taken(cpu_s, resident, virtual, files)
