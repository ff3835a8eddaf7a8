"""structlog, set up once in every process: human on a terminal, JSON otherwise, a line an event."""

import logging
import sys
from pathlib import Path
from typing import Any, TextIO

import structlog


def setup(level: str, path: str = "", **bound: Any) -> Any:
    """Configure this process and return its logger, with `bound` in every line.

    `path` is the file to append to; empty for stderr.
    """
    stream: TextIO = sys.stderr
    if path:
        stream = Path(path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - for ever
    human = not path and stream.isatty()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not human),
    ]
    if human:
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    return structlog.get_logger().bind(**bound)
