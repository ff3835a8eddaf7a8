"""What is wrong with a configuration, in one sentence."""

import reprlib

from . import limits


class ConfigError(ValueError):
    """A configuration that cannot be used, in one sentence: where, what, and what to do."""


class _Shortened(reprlib.Repr):
    """What was given, for an error's text, which is to stay one sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = 80

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write out numbers of many digits, which TOML takes as hexadecimal."""
        large = abs(x) > limits.INTEGER_MAX
        return "a number beyond 2^63 - 1" if large else super().repr_int(x, level)


shorten = _Shortened()
