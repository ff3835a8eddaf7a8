"""What runs the actors, and owns sockets, threads and the clock.

- command.py       `sampan up`, `sampan node`; statuses.py what nodes say of themselves,
                   status_table.py what `up` shows of it, serving.py and systemd.py who else is told
- supervisor.py    starts, watches and ends the processes of nodes
- process.py       the entry of a child process
- host.py          moves what actors emit; ports.py, pipes.py: its sockets, pipes and threads
- processors.py    which processor a child runs on; slices.py: how soon it may run there
"""
