"""A progress bar on stderr, when that is a terminal; nothing otherwise."""

import sys
import time

_WIDTH = 30


class ProgressBar:
    """One line that is drawn over; `finish` removes it."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._begun = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def show(self, done: int) -> None:
        """Draw the bar for that many of the total."""
        if not self._terminal:
            return
        filled = min(_WIDTH, _WIDTH * done // self._total)
        rate = done / max(time.monotonic() - self._begun, 1e-9)
        bar = "█" * filled + "░" * (_WIDTH - filled)
        percent = 100 * done // self._total
        sys.stderr.write(f"\r{self._label} {bar} {percent:3d} %  {rate:,.0f}/s \x1b[K")
        sys.stderr.flush()

    def finish(self) -> None:
        """Remove the line."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
