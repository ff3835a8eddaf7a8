"""Standard streams as shells leave them: closed, leading to a full disk, or to nobody who reads."""

import os
import sys
from typing import TextIO


def open_closed() -> None:
    """Have all three lead somewhere. The descriptor of a closed one would go to a connection, and
    what is printed by chance would travel there; Go's runtime sees to it, too."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def give_up(stream: TextIO) -> None:
    """After a write failed: what waits in its buffer goes nowhere, without a word at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
