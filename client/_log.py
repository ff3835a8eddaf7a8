"""What the client logs, under the name `sampan.client`: connections lost and found, failovers.

Nothing is heard of it until the program asks for it, as with every library. A program that has not
imported `logging` has not asked, and a short command does without importing it.
"""

import sys

NAME = "sampan.client"


def info(text: str, *args: object) -> None:
    """What is in the order of things."""
    _log(20, text, args)


def warning(text: str, *args: object) -> None:
    """What somebody should look at."""
    _log(30, text, args)


def _log(level: int, text: str, args: tuple[object, ...]) -> None:
    logging = sys.modules.get("logging")
    if logging is None:
        return
    logger = logging.getLogger(NAME)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else warnings would go to standard error
    logger.log(level, text, *args)
