"""The way of one write through the cluster, as steps and as a timeline to read."""

from collections.abc import Mapping
from typing import NamedTuple

MEANINGS = {
    "clientc": "the client's message came",
    "propc": "left for the core, in a batch",
    "propose": "proposed to raft",
    "readyc": "left for the log and the other members (Ready)",
    "write": "written to the log",
    "fsync": "durable in this member's log",
    "recvc": "came from {peer} (MsgApp)",
    "acknowledged": "{peer} said that it is durable there (MsgAppResp)",
    "applyc": "committed; left for the applier",
    "applied": "applied to the state",
    "resultc": "its results came back; the reply leaves",
}
"""What a step is, by the channel or the message with which it ends."""

PARTS = (
    ("propc", "waits for a batch"),
    ("propose", "to the core"),
    ("readyc", "Ready"),
    ("fsync", "log and fsync"),
    ("applyc", "until a majority has it"),
    ("applied", "applied"),
    ("resultc", "result"),
)
"""What a write waits for, one after the other, by the steps with which that ends."""
_LEADERS = ("readyc", "fsync", "applyc")


class Step(NamedTuple):
    """One step.

    Attributes:
        at: seconds since the first step of the node that took the write.
        member_id: the node.
        actor: who noted it.
        name: the step, by the channel or message with which it ends.
        peer: the member that a message came from, 0 for none.
    """

    at: float
    member_id: int
    actor: str
    name: str
    peer: int


class Trace(NamedTuple):
    """The way of the entry that made a revision; `print` shows it as a timeline.

    Attributes:
        revision: the write's.
        entry: the index of its raft entry.
        term: the entry's term.
        member_id: the node that took it from its client.
        steps: what happened to it, in order.
        offsets: by how many seconds each node's clock was ahead of that node's, by member; 0 where
            no difference can be told from the time that asking took, as on one machine.
        began: when its node took the write, on the monotonic clock of who asked.
        ahead: by how many seconds that node's clock was ahead of this one, 0 likewise.
        called: when the call for it began and ended, on the same clock as `began`; None of a write
            that was not traced by who made it.
    """

    revision: int
    entry: int
    term: int
    member_id: int
    steps: list[Step]
    offsets: dict[int, float]
    began: float
    ahead: float = 0.0
    called: tuple[float, float] | None = None

    def of_call(self, began: float, ended: float) -> "Trace":
        """This trace for who made the write, by a call from `began` to `ended` on its clock.

        A node notes when the first message of a batch came. This call's may have come later: not
        before the call began, nor so early that all took longer than the call."""
        called = self._replace(called=(began, ended))
        took, left = self.took_s, self._at(self.member_id, "propc")
        if not took or left is None:
            return called
        late = min(max(began - self.began, took - (ended - began), 0.0), left)
        came = (self.member_id, "clientc")
        steps = [
            step._replace(at=0.0 if (step.member_id, step.name) == came else step.at - late)
            for step in self.steps
        ]
        return called._replace(steps=sorted(steps), began=self.began + late)

    def _at(self, member_id: int, name: str) -> float | None:
        found = (s.at for s in self.steps if s.member_id == member_id and s.name == name)
        return next(found, None)

    @property
    def took_s(self) -> float:
        """From the client's message to its results, in the node that took it; 0 when one of the two
        is not remembered."""
        taken, done = self._at(self.member_id, "clientc"), self._at(self.member_id, "resultc")
        return 0.0 if taken is None or done is None else done

    @property
    def travel_s(self) -> tuple[float, float] | None:
        """How long the client's message took to its node, with all that happened to it in the
        client, and the answer back; None when that cannot be told.

        Between two machines that is as good as the estimate of their clocks, but a message does
        not come before it was sent."""
        took = self.took_s
        if self.called is None or not took:
            return None
        began, ended = self.called
        both = max(ended - began - took, 0.0)
        there = min(max(self.began - began, 0.0), both)
        return there, both - there

    def parts(self) -> list[tuple[str, float]]:
        """What the write waited for, one after the other, in seconds: together `took_s`, or all of
        the call's time where `travel_s` is known."""
        leader = next((s.member_id for s in self.steps if s.name == "acknowledged"), self.member_id)
        ends, until = {}, self.took_s
        for name, _ in reversed(PARTS):
            # Nothing waits for what ends later, as the leader's disk when a majority is faster.
            at = self._at(leader if name in _LEADERS else self.member_id, name)
            ends[name] = until = until if at is None else min(at, until)
        parts, before = [], 0.0
        for name, text in PARTS:
            parts.append((text, max(ends[name] - before, 0.0)))
            before = max(ends[name], before)
        if self.travel_s is None:
            return parts
        there, back = self.travel_s
        return [("to its node", there), *parts, ("back", back)]

    def timeline(self, names: Mapping[int, str]) -> str:
        """A line for each step, in order: when in milliseconds, how long after the step before;
        `names`: of members, instead of their ids."""

        def name(member: int) -> str:
            return names.get(member, f"{member:x}") if member else "a peer"

        lines, before = [self._head(name(self.member_id))], 0.0
        for step in self.steps:
            text = MEANINGS.get(step.name, step.name).format(peer=name(step.peer))
            lines.append(
                f"{1000 * step.at:9.3f} ms {1000 * (step.at - before):+9.3f}  "
                f"{name(step.member_id):<8} {step.actor:<11}{step.name:<13} {text}"
            )
            before = step.at
        lines += [
            f"the clock of {name(member)} was {1000 * offset:+.3f} ms off, as far as one can tell"
            for member, offset in sorted(self.offsets.items())
            if offset
        ]
        if self.ahead and self.travel_s is not None:
            lines.append(
                f"the way there and back is an estimate: this clock was {-1000 * self.ahead:+.3f} "
                f"ms off that of {name(self.member_id)}, as far as one can tell"
            )
        return "\n".join(lines) + "\n"

    def _head(self, taker: str) -> str:
        entry = f"entry {self.entry} of term {self.term}"
        head = f"revision {self.revision}, {entry}: {1000 * self.took_s:.3f} ms in {taker}"
        if self.travel_s is None:
            return head
        there, back = self.travel_s
        return (
            f"{head}, {1000 * (there + self.took_s + back):.3f} ms for the client: "
            f"{1000 * there:.3f} ms to get there, connection and all, and {1000 * back:.3f} ms back"
        )

    def __str__(self) -> str:
        return self.timeline({})
