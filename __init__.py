"""Sampan (舢板, "three planks"): a replicated, strongly consistent key-value store.

etcd's raft and etcd's data model, with every node a troupe of actors joined by ZeroMQ channels.
Start with the README; `docs/design.md` draws the data flow, `docs/protocol.md` the wire.
"""

__version__ = "0.1.0"
