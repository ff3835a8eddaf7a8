"""The actors of a node, and what runs them. `docs/design.md` draws the flow; in files it is:

    client → node.py ─propc→ raft_core.py ─readyc→ wal_writer.py ─advancec→ raft_core
                                 └─sendc→ transport.py → peers
    raft_core ─applyc→ applier.py ─resultc→ node.py → client

- channels.py      every channel: ends, what it carries, what may be lost
- actor.py         what an actor is: a handler without sockets, threads or a clock
- host.py          moves what actors emit; ports.py, pipes.py: its sockets, pipes and threads
- process.py       the entry of a child process
- supervisor.py    starts, watches and ends the processes of nodes
- command.py       `sampan up`, `sampan node`; status_table.py what `up` shows
"""
