"""`check`: what is needed to know the commands; `check_perf` and `check_datascale` do the work."""

from .commands import Run
from .flags import Flag, bool_flag, string_flag


def _flags(prefix: str) -> tuple[Flag, ...]:
    return (
        bool_flag("auto-compact", "compact to the last revision afterwards"),
        bool_flag("auto-defrag", "give the space back to the disk afterwards"),
        string_flag("load", "s(small), m(medium), l(large) or xl(xLarge)", "s"),
        string_flag("prefix", "what the keys begin with", prefix),
    )


PERF_FLAGS = _flags("/etcdctl-check-perf/")
DATASCALE_FLAGS = _flags("/etcdctl-check-datascale/")


def perf(run: Run) -> None:
    """`check perf`."""
    from . import check_perf  # asyncio: other commands start faster without it

    check_perf.run(run)


def datascale(run: Run) -> None:
    """`check datascale`."""
    from . import check_datascale

    check_datascale.run(run)
