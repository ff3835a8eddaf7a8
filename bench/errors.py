"""The one error that `sampan bench` reports as a sentence and exit code 1."""


class BenchError(Exception):
    """Something outside the bench is missing or failed; the text says what and how to mend it."""
