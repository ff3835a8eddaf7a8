"""The actors of a node: handlers without I/O, which `hosts` runs.

`docs/design.md` draws the flow; in files it is:

    client → node.py ─propc→ raft_core.py ─readyc→ wal_writer.py ─advancec→ raft_core
                                 └─sendc→ transport.py → peers
    raft_core ─applyc→ applier.py ─resultc→ node.py → client

- channels.py      every channel: ends, what it carries, what may be lost
- actor.py         what an actor is: a handler without sockets, threads or a clock
- watches/         from the applier to whoever watches
"""
