"""What a member's measures mean: rates, shares and quantiles, worked out of two answers in turn.

For whoever looks, on the page or in the terminal: both show these figures and work nothing out.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

Told = tuple[float, float, Sequence[int]]
"""A histogram as it travels: first bound, sum, counts (`actors/measures.py`)."""


class Answer(NamedTuple):
    """What a member said of itself, and when (in monotonic seconds of who asked)."""

    at: float
    measured: Mapping[str, Any]


_OF_STATUS = (
    "name", "version", "role", "term", "leader", "commit", "applied", "revision", "raft_index",
    "log_first", "log_entries", "log_bytes", "db_size", "pending_writes", "pending_reads",
    "progress", "elections", "is_learner", "alarms",
)  # fmt: skip


def figures(now: Answer, before: Answer | None) -> dict[str, Any]:
    """What is shown of a member. Without an answer before, or when its node has started since, what
    happens in a time is not known: None."""
    status, actors = now.measured["status"], now.measured["actors"]
    shown: dict[str, Any] = {key: status.get(key) for key in _OF_STATUS}
    if before is not None and not _same_start(now, before):
        before = None
    span = _Span(now, before)
    shown["actors"] = {name: span.actor(name) for name in sorted(actors)}
    shown["channels"] = {
        f"{channel}>{name}": span.rate(lambda m, n=name, c=channel: _messages(m, n).get(c, 0))
        for name, measured in actors.items()
        for channel in measured["load"]["messages"]
    }
    shown |= span.flow()
    for key, (actor, job) in {"write": ("node", "write"), "fsync": ("wal_writer", "sync")}.items():
        shown[key] = span.quantiles(actor, job)
    return shown


def _messages(measured: Mapping[str, Any], actor: str) -> Mapping[str, int]:
    found: Mapping[str, int] = measured["actors"][actor]["load"]["messages"]
    return found


def _same_start(now: Answer, before: Answer) -> bool:
    def turns(answer: Answer) -> int:
        return int(answer.measured["actors"]["node"]["load"]["turns"])

    return now.at > before.at and turns(now) >= turns(before)


class _Span:
    """The time between two answers."""

    def __init__(self, now: Answer, before: Answer | None) -> None:
        self._now = now.measured
        self._before = before.measured if before else None
        self._s = now.at - before.at if before else 0.0

    def grown(self, count: Any) -> float | None:
        """By how much a count, which is taken of a member's measures, has grown."""
        if self._before is None:
            return None
        return float(count(self._now) - count(self._before))

    def rate(self, count: Any) -> float | None:
        """Likewise a second."""
        grown = self.grown(count)
        return None if grown is None else grown / self._s

    def _ratio(self, upper: Any, lower: Any) -> float | None:
        above, below = self.grown(upper), self.grown(lower)
        return None if above is None or not below else above / below

    def actor(self, name: str) -> dict[str, Any]:
        """How an actor fares: shares of its time and of a processor, messages a turn, its longest
        queue and turn since somebody asked last."""

        def load(measured: Mapping[str, Any]) -> Mapping[str, Any]:
            found: Mapping[str, Any] = measured["actors"][name]["load"]
            return found

        now = load(self._now)
        return {
            "busy": self.rate(lambda m: load(m)["busy_s"]),
            "cpu": self.rate(lambda m: load(m)["process"][1]),
            "process": now["process"][0],
            "turns": self.rate(lambda m: load(m)["turns"]),
            "batch": self._ratio(
                lambda m: sum(load(m)["messages"].values()), lambda m: load(m)["turns"]
            ),
            "queue": now["queue_longest"],
            "longest_s": now["longest_s"],
        }

    def flow(self) -> dict[str, Any]:
        """What passes, and how much of it goes together."""

        def requests(m: Mapping[str, Any]) -> int:
            return int(m["status"]["requests"])

        def writes(m: Mapping[str, Any]) -> int:
            counts = m["actors"]["node"]["requests"]
            return int(sum(counts.get(name, 0) for name in ("put", "delete", "txn")))

        def entries(m: Mapping[str, Any]) -> int:
            return int(m["status"].get("commit", 0))

        def batches(m: Mapping[str, Any]) -> int:
            return _messages(m, "raft_core").get("propc", 0)

        def fsyncs(m: Mapping[str, Any]) -> int:
            return sum(m["actors"]["wal_writer"]["durations"].get("sync", (0, 0, ()))[2])

        return {
            "requests_s": self.rate(requests),
            "writes_s": self.rate(writes),
            "entries_s": self.rate(entries),
            "fsyncs_s": self.rate(fsyncs),
            "writes_an_entry": self._ratio(writes, batches),
            "entries_a_fsync": self._ratio(entries, fsyncs),
        }

    def quantiles(self, actor: str, job: str) -> dict[str, float | None]:
        """Below which bound half, and 99 %, of what was timed lay, in seconds."""
        now = self._now["actors"][actor]["durations"].get(job)
        before = None
        if self._before is not None:
            before = self._before["actors"][actor]["durations"].get(job)
        return {"half": quantile(0.5, now, before), "most": quantile(0.99, now, before)}


def quantile(share: float, now: Told | None, before: Told | None) -> float | None:
    """The bound of the bucket in which that share of what was timed since `before` ends; None when
    nothing was timed."""
    if now is None:
        return None
    first_s, _, counts = now
    since = [n - (before[2][i] if before else 0) for i, n in enumerate(counts)]
    left = share * sum(since)
    if left <= 0:
        return None
    upto = accumulate(since)
    return float(first_s * 2 ** next(i for i, n in enumerate(upto) if n >= left))
