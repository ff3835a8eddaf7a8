"""`put --trace`: the way of a write through the nodes, as a timeline."""

from typing import TYPE_CHECKING

from .commands import Run

if TYPE_CHECKING:
    from ..client.trace_calls import Trace

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


def show(run: Run, revision: int, called: tuple[float, float]) -> None:
    """Ask all members about the write that made a revision, and print its way; `called`: when the
    call for it began and ended, in monotonic seconds."""
    with run.client() as client:
        members = client.member_list().members
    # Addresses that begin with http are for etcd's clients.
    endpoints = [url for m in members for url in m.client_urls if not url.startswith("http")]
    names = {m.id: m.name or f"{m.id:x}" for m in members}
    with run.client(endpoints) as client:
        trace = client.trace(revision)
    run.stdout.write(timeline(trace, names, called).encode())


def timeline(trace: "Trace", names: dict[int, str], called: tuple[float, float]) -> str:
    """A line for each step, in order: when in milliseconds, how long after the step before."""
    took = trace.took_s
    taker = names.get(trace.member_id, f"{trace.member_id:x}")
    entry = f"entry {trace.entry} of term {trace.term}"
    began, ended = called
    sent_s, back_s = trace.began - began, ended - trace.began - took
    lines = [
        f"revision {trace.revision}, {entry}: {1000 * took:.3f} ms in {taker}, "
        f"{1000 * (ended - began):.3f} ms for the client: {1000 * sent_s:.3f} ms to get there, "
        f"connection and all, and {1000 * back_s:.3f} ms back"
    ]
    before = 0.0
    for step in trace.steps:
        node = names.get(step.member_id, f"{step.member_id:x}")
        text = MEANINGS.get(step.name, step.name).format(peer=names.get(step.peer, "a peer"))
        lines.append(
            f"{1000 * step.at:9.3f} ms {1000 * (step.at - before):+9.3f}  {node:<8} "
            f"{step.actor:<11}{step.name:<13} {text}"
        )
        before = step.at
    for member, offset in sorted(trace.offsets.items()):
        if offset:
            name = names.get(member, f"{member:x}")
            lines.append(
                f"the clock of {name} was {1000 * offset:+.3f} ms off, as far as one can tell"
            )
    return "\n".join(lines) + "\n"
