"""`check`: what is needed to know the command; the work is in `check_perf`."""

from .commands import Run
from .flags import bool_flag, string_flag

PERF_FLAGS = (
    bool_flag("auto-compact", "compact to the last revision afterwards"),
    bool_flag("auto-defrag", "no effect: the storage needs none"),
    string_flag("load", "s(small), m(medium), l(large) or xl(xLarge)", "s"),
    string_flag("prefix", "what the keys begin with", "/etcdctl-check-perf/"),
)


def perf(run: Run) -> None:
    """`check perf`."""
    from . import check_perf  # asyncio: other commands start faster without it

    check_perf.run(run)
