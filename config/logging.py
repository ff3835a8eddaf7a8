"""structlog, set up once in every process: human on a terminal, JSON otherwise, a line an event."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, TextIO, cast

import structlog


class Lines:
    """Where the log's lines go. One that cannot be written, to a full disk, must not end who had
    something to say; the next one that can be written comes with the number of those before."""

    def __init__(self, stream: TextIO, path: str = "") -> None:
        self._stream = stream
        self._path = path
        self._reopen = False
        self._unwritten = 0

    def reopen(self) -> None:
        """Open the file anew before the next line: somebody may have moved it away. May be called
        by a signal's handler, in the middle of a line."""
        self._reopen = bool(self._path)

    def write(self, line: str) -> None:
        """Write a line, or remember that it was not."""
        try:
            if self._reopen:
                self._reopen = False
                moved, self._stream = self._stream, _append_to(self._path)
                moved.close()
            if self._unwritten:
                event = {"event": "lines of this log were late or lost", "lines": self._unwritten}
                self._stream.write(json.dumps(event) + "\n")
            self._stream.write(line)
            self._stream.flush()
            self._unwritten = 0
        except OSError:
            self._unwritten += 1

    def flush(self) -> None:
        """Every line is flushed as it comes."""


def _append_to(path: str) -> TextIO:
    return Path(path).open("a", encoding="utf-8", buffering=1)


_current: list[Lines] = []
"""What this process was set up with, the last one counts."""
_audits: list[Lines] = []


def reopen() -> None:
    """Open this process's log files anew, if it has any (logrotate's SIGHUP)."""
    for lines in (*_current[-1:], *_audits):
        lines.reopen()


def audit(path: str, **bound: Any) -> Any:
    """A logger of its own for what is to be kept: JSON, in a file to append to, whatever is worth
    a line elsewhere. Raises OSError."""
    lines = Lines(_append_to(path), path)
    _audits.append(lines)
    return structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", lines)),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        **bound,
    )


def setup(level: str, path: str = "", **bound: Any) -> Any:
    """Configure this process and return its logger, with `bound` in every line.

    `path` is the file to append to; empty for stderr.
    """
    stream = _append_to(path) if path else sys.stderr
    lines = Lines(stream, path)
    _current.append(lines)
    human = not path and stream.isatty()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not human),
    ]
    if human:
        processors.append(structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR")))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", lines)),
        cache_logger_on_first_use=True,
    )
    return structlog.get_logger().bind(**bound)
