"""How long a call may take."""

TIMEOUT_S_MAX = 365 * 24 * 3600.0
DEFAULT_TIMEOUT_S = 7.0
"""A node's own request timeout (5 s and two election timeouts), as etcd's."""


def check_timeout(timeout_s: float) -> float:
    """`timeout_s`, if it is one.

    Raises:
        TypeError: it is no number.
        ValueError: negative, or longer than a year.
    """
    if type(timeout_s) not in (int, float):
        raise TypeError(f"timeout_s is a number of seconds, not {timeout_s!r}")
    if not 0 <= timeout_s <= TIMEOUT_S_MAX:
        raise ValueError(f"timeout_s is 0 to {TIMEOUT_S_MAX}, not {timeout_s}")
    return timeout_s
