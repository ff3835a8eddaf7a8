"""`put --trace`: the way of a write through the nodes, as a timeline."""

from .commands import Run


def show(run: Run, revision: int, called: tuple[float, float]) -> None:
    """Ask all members about the write that made a revision, and print its way; `called`: when the
    call for it began and ended, in monotonic seconds."""
    with run.client() as client:
        members = client.member_list().members
    # Addresses that begin with http are for etcd's clients.
    endpoints = [url for m in members for url in m.client_urls if not url.startswith("http")]
    names = {m.id: m.name or f"{m.id:x}" for m in members}
    with run.client(endpoints) as client:
        trace = client.trace(revision).of_call(*called)
    run.stdout.write(trace.timeline(names).encode())
