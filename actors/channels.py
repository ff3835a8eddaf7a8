"""Every channel of a node: its ends, and what happens when its reader cannot keep up.

The names are those of etcd raft's Go channels where it has one. In processes a channel is a pipe
from the producer's PUSH socket to the consumer's PULL inbox over ipc; the channels between the same
two actors share the pipe, so their order is kept, and this is relied upon. In a fused node it is a
queue in memory. Both are bounded by what the node admits (config/limits.py), not by blocking: an
actor never blocks in a send.
"""

from enum import Enum
from typing import NamedTuple

NODE = "node"
RAFT_CORE = "raft_core"
WAL_WRITER = "wal_writer"
APPLIER = "applier"
TRANSPORT = "transport"
HOST = "host"
"""Whatever runs the actors and owns sockets, threads and the clock."""

ACTORS = (NODE, RAFT_CORE, TRANSPORT, WAL_WRITER, APPLIER)
"""In the order in which a fused node runs them: messages to peers leave before the disk works."""


class Loss(Enum):
    """What may happen to a channel's messages."""

    NEVER = "never lost, in order; a full queue is a bug and stops the node"
    DROP = "dropped and counted when the queue is full; raft sends again"


class Channel(NamedTuple):
    """One row of the table."""

    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    carries: str
    loss: Loss = Loss.NEVER


CHANNELS: dict[str, Channel] = {
    # -- start
    "logc": Channel((WAL_WRITER,), (RAFT_CORE,), "what the log holds at start"),
    "knownc": Channel((WAL_WRITER,), (RAFT_CORE,), "what was known of the peers, before logc"),
    "logendc": Channel((RAFT_CORE,), (TRANSPORT,), "term and last index of the log at start"),
    "statec": Channel((APPLIER,), (RAFT_CORE, NODE, TRANSPORT), "what the state holds at start"),
    # -- the raft data flow
    "propc": Channel((NODE,), (RAFT_CORE,), "a batch of client writes: one raft entry"),
    "dropc": Channel((RAFT_CORE,), (NODE,), "a batch that raft refused: certainly not applied"),
    "recvc": Channel((TRANSPORT,), (RAFT_CORE,), "raft messages from peers", Loss.DROP),
    "readyc": Channel(
        (RAFT_CORE,),
        (WAL_WRITER,),
        "entries, HardState, log start; messages to release once durable; log compaction; "
        "what is known of the peers",
    ),
    "applyc": Channel((RAFT_CORE,), (APPLIER,), "committed entries, or a snapshot to install"),
    "sendc": Channel((RAFT_CORE, WAL_WRITER), (TRANSPORT,), "messages for peers", Loss.DROP),
    "advancec": Channel((WAL_WRITER, APPLIER), (RAFT_CORE,), "what is durable, what is applied"),
    "confc": Channel((APPLIER,), (RAFT_CORE,), "a committed configuration change"),
    "transferc": Channel((NODE,), (RAFT_CORE,), "leadership is to be handed over, and to whom"),
    "confstatec": Channel((RAFT_CORE,), (APPLIER,), "the ConfState it led to"),
    "softstatec": Channel((RAFT_CORE,), (NODE, APPLIER, TRANSPORT, HOST), "term, leader, role"),
    "authc": Channel((APPLIER,), (NODE,), "users, roles and logins, when they change"),
    "membersc": Channel((APPLIER,), (NODE, TRANSPORT), "the members, when they change"),
    "forwardc": Channel((NODE,), (TRANSPORT,), "what the leader's node is asked or answers"),
    "forwardedc": Channel((TRANSPORT,), (NODE,), "what another member's node asks or answers"),
    # -- reads
    "readindexc": Channel((NODE,), (RAFT_CORE,), "one fresh context for all reads that wait"),
    "readstatec": Channel((RAFT_CORE,), (NODE,), "the index at which a context may be read"),
    "readc": Channel((NODE,), (APPLIER,), "reads to execute at or after an applied index"),
    "inspectc": Channel((NODE,), (APPLIER,), "questions that take a while, answered on resultc"),
    "resultc": Channel((APPLIER,), (NODE,), "results of writes and reads"),
    "leftc": Channel((NODE, HOST), (APPLIER,), "large answers that are no longer held"),
    # -- watches
    "watchc": Channel((NODE,), (APPLIER,), "the ranges that are watched; history to be read"),
    "eventc": Channel((APPLIER,), (NODE,), "events of watched ranges, new and from history"),
    "termc": Channel((APPLIER,), (NODE,), "a term whose leader's first entry was applied"),
    # -- snapshots and compaction
    "durablec": Channel((APPLIER,), (RAFT_CORE,), "the applied index that survives a crash"),
    "snapshotc": Channel((RAFT_CORE,), (APPLIER,), "a snapshot is wanted"),
    "snapreadyc": Channel((APPLIER,), (RAFT_CORE, TRANSPORT), "a snapshot was made"),
    "snapsendc": Channel((RAFT_CORE,), (TRANSPORT,), "a snapshot to stream to a peer"),
    "hurryc": Channel((RAFT_CORE,), (TRANSPORT,), "whether the log has no room for slow snapshots"),
    "reportc": Channel(
        (TRANSPORT,), (RAFT_CORE,), "peer unreachable, gone or started, snapshot sent or failed"
    ),
    "refusec": Channel((RAFT_CORE,), (TRANSPORT,), "a peer that must not be heard"),
    "proposec": Channel((APPLIER,), (RAFT_CORE,), "own entries: leases, alarms, upkeep"),
    # -- status
    "statusc": Channel((NODE,), (RAFT_CORE, WAL_WRITER, APPLIER, TRANSPORT), "a status question"),
    "statusrc": Channel(
        (RAFT_CORE, WAL_WRITER, APPLIER, TRANSPORT),
        (NODE,),
        "its answers, with what each has measured",
    ),
    "tracec": Channel(
        (NODE,), (RAFT_CORE, WAL_WRITER, APPLIER), "a question for what was done with an entry"
    ),
    "tracerc": Channel((RAFT_CORE, WAL_WRITER, APPLIER), (NODE,), "its answers"),
    # -- between an actor and its host
    "clientc": Channel((HOST,), (NODE,), "a message from the client socket", Loss.DROP),
    "replyc": Channel((NODE,), (HOST,), "a message for the client socket", Loss.DROP),
    "largec": Channel((NODE,), (HOST,), "likewise a large answer, whose end leftc tells"),
    "strangec": Channel((NODE,), (HOST,), "a client that sends what means nothing", Loss.DROP),
    "camec": Channel((HOST,), (NODE,), "a client whose connection stands, and its host"),
    "gonec": Channel((HOST,), (NODE,), "a client whose connection has ended", Loss.DROP),
    "peerc": Channel((HOST,), (TRANSPORT,), "a message from the peer socket", Loss.DROP),
    "linkc": Channel((TRANSPORT,), (HOST,), "a message for the link to a peer", Loss.DROP),
    "linkfullc": Channel((HOST,), (TRANSPORT,), "a link that took no more"),
    "brokenc": Channel(
        (HOST,), (TRANSPORT,), "a peer whose connection broke and that refuses more"
    ),
    "linkedc": Channel(
        (HOST,), (NODE, RAFT_CORE), "whether the link to a peer stands, when that changes"
    ),
    "linksc": Channel((TRANSPORT,), (HOST,), "the peers to be linked to, and their names"),
    "jobc": Channel(
        (WAL_WRITER, APPLIER, NODE, RAFT_CORE),
        (HOST,),
        "a job for a thread: sync, flush, a password, the archive",
    ),
    "donec": Channel((HOST,), (WAL_WRITER, APPLIER, NODE, RAFT_CORE), "a job's result"),
    "fatalc": Channel(ACTORS, (HOST,), "a reason to stop this node for good, in one sentence"),
}
