"""What crosses sockets, and the sockets themselves. `docs/protocol.md` specifies both protocols.

- codec.py          msgpack in and out, with limits; the only import of msgpack
- requests.py       the shape of client requests, and the check before the log
- errors.py         every error that crosses the wire
- raft_messages.py  raft messages as bytes
- sockets.py        the only place where sockets are made
"""
