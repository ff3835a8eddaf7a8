"""Raft consensus as a pure state machine: messages and ticks go in, work comes out.

This is the algorithm of etcd-io/raft v3.7, behaviour for behaviour, in Python. The package does no
I/O, reads no clock, starts no thread and draws no random number but for the election timeout. Its
host, the code that embeds it, does all that, which is what makes every interleaving of messages,
crashes and time testable. It imports nothing but the standard library.

Where to look: `RawNode` is the node, `Config` its options, `Storage` what it reads, `Ready` and the
storage messages the work it hands out. `core.py` holds the state, `follower.py`, `candidate.py`
and `leader.py` what each role does with a message, `election.py` campaigns and votes,
`replication.py` what a leader sends, `log.py` the log, `tracker.py` a leader's view of its peers,
`confchange.py` and `quorum.py` membership, `inbound.py` what is refused at the door.


The host's duties
=================

1. Call `tick` at a steady pace, `step` for every message from a peer, `propose`, `read_index` and
   the others for local requests. None of them blocks or does I/O.
2. When `has_ready()`, take `ready()` and do its work, in this order:

   a. Write `entries`, `hard_state` and `snapshot` to durable storage, all of one Ready atomically
      or entries first: a hard state may name a commit index that only these entries reach. The
      write must be durable before (b) if `must_sync` is true or there is a snapshot. Entries
      replace whatever the log holds from their first index on.
   b. Send `messages`. They may be lost, repeated and reordered, but not changed. After a failure
      call `report_unreachable`; after a MsgSnap always call `report_snapshot`, or a peer whose
      snapshot was lost waits for ever.
   c. Apply `snapshot` and `committed_entries` to the state machine. For a configuration change
      decode the data (`ConfChange` or `ConfChangeV2`) and call `apply_conf_change`, unless the
      application rejects it; keep the `ConfState` it gives with the state.
   d. Answer each of `read_states` once its index is applied.
   e. Call `advance`.

3. Let `Storage` show a write as soon as it is confirmed (`advance`, or the response of a storage
   message). Confirmed entries are not kept here any more.
4. Never compact beyond what is applied, and make a hard state durable whose commit index reaches
   the snapshot before the log below it goes. `Storage.snapshot()` must give a state new enough to
   contain the node it is for in its configuration; one made on demand from the applied state is.
   While there is none it raises ErrSnapshotTemporarilyUnavailable and is asked again later.
5. Drop a message for which `step` raises a RaftError, and count it; an UnsafeMessage deserves an
   alarm. After a RaftPanic stop the node and keep its disk: something impossible has happened.

A complete loop in the synchronous mode, for a group of one::

    from sampan.raft import Config, ConfState, MemoryStorage, RawNode, Snapshot, SnapshotMetadata

    storage = MemoryStorage()
    members = ConfState(voters=[1])
    storage.apply_snapshot(Snapshot(metadata=SnapshotMetadata(members)))
    node = RawNode(Config(
        id=1, election_tick=10, heartbeat_tick=1, storage=storage,
        max_size_per_msg=1 << 20, max_inflight_msgs=256,
    ))
    state = []

    def handle_ready():
        rd = node.ready()
        if rd.snapshot is not None:
            storage.apply_snapshot(rd.snapshot)
        storage.append(rd.entries)
        if rd.hard_state is not None:
            storage.set_hard_state(rd.hard_state)
        for message in rd.messages:
            pass  # to the peer message.to
        for entry in rd.committed_entries:
            state.append(entry.data)
        node.advance(rd)

    def run():
        while node.has_ready():
            handle_ready()

    node.campaign()
    run()
    node.propose(b"hello")
    run()
    assert state == [b"", b"hello"]


Asynchronous storage writes
===========================

With `Config.async_storage_writes` a Ready can be taken at any time and nothing waits for the disk.
Writing and applying become messages in `Ready.messages`, to be handled elsewhere, each target in
order and without loss:

- MsgStorageAppend, to LOCAL_APPEND_THREAD: append `entries`, save `HardState(term, vote, commit)`
  unless all three are 0, store `snapshot` (and apply it). When all of it and of the earlier ones is
  durable, deliver `responses`: those for this node by `step`, the others over the network. Without
  responses the write need not be durable.
- MsgStorageApply, to LOCAL_APPLY_THREAD: apply `entries`, then deliver `responses`. Skip entries
  that a snapshot has overtaken, if the two are not applied in one order anyway. The node's
  `apply_conf_change` must have been called for the changes among them before the responses are
  stepped: the next change is admitted from then on.

Once this node is removed from the group, `step` may refuse its own responses with StepPeerNotFound;
drop them like any refused message.

All other messages go out at once. The core orders everything so that a vote or an acknowledgement
travels only as such a response, after the write it speaks for. `entries`, `hard_state`, `snapshot`
and `committed_entries` of the Ready repeat what the storage messages hold; `advance` is not called.
The loop becomes::

    from sampan.raft import HardState, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD

    def handle_ready(node, send, writer, applier):
        for message in node.ready().messages:
            if message.to == LOCAL_APPEND_THREAD:
                writer.append(message)
            elif message.to == LOCAL_APPLY_THREAD:
                applier.append(message)
            else:
                send(message)

    def write(node, message, storage, send):
        if message.snapshot is not None:
            storage.apply_snapshot(message.snapshot)
        storage.append(message.entries)
        hard_state = HardState(message.term, message.vote, message.commit)
        if hard_state != HardState():
            storage.set_hard_state(hard_state)
        respond(node, message, send)

    def apply(node, message, state, send):
        state += [entry.data for entry in message.entries]
        respond(node, message, send)

    def respond(node, message, send):
        for response in message.responses:
            if response.to == message.from_:
                node.step(response)
            else:
                send(response)


Starting
========

Give every first member a storage whose snapshot holds the same `ConfState` (with an index above 1
if members will join later: they are brought in by a snapshot, so their log must not be expected to
start at 1). `RawNode.bootstrap` is the alternative that puts the first members into the log. A
member that joins starts with an empty storage. After a restart create the node from its storage,
with `Config.applied` as the last index that the state machine is known to hold; a larger one than
the stored commit index is a RaftPanic.


Messages
========

From peer to peer:

- MsgProp: a proposal on its way to the leader; no term, one or more entries.
- MsgApp: the leader's entries after (`log_term`, `index`), and its `commit` index.
- MsgAppResp: entries up to `index` are durable; or, with `reject`, they did not fit after `index`,
  and (`log_term`, `reject_hint`) is the last entry that may agree.
- MsgVote, MsgVoteResp: a candidate's request, with the end of its log, and the answer. The context
  "CampaignTransfer" marks a campaign that the leader asked for, which no lease stops.
- MsgPreVote, MsgPreVoteResp: the same question without consequences, in the next term.
- MsgSnap: a snapshot in place of entries the leader does not have any more.
- MsgHeartbeat, MsgHeartbeatResp: the leader lives; the context carries the newest waiting read.
- MsgReadIndex, MsgReadIndexResp: a read on its way to the leader, and the index to serve it at.
- MsgTransferLeader: a wish, `from_` being the successor. MsgTimeoutNow: campaign at once.

Within a node, refused if they come from outside: MsgHup (campaign), MsgBeat, MsgCheckQuorum,
MsgUnreachable, MsgSnapStatus, MsgForgetLeader (allowed from outside, harmless), MsgStorageAppend,
MsgStorageAppendResp, MsgStorageApply, MsgStorageApplyResp. MsgBeat and MsgCheckQuorum exist for
the wire format only; `tick` does their work.


Options
=======

`id`, `storage`: this node and its disk. An id is never used again for another disk: a node that
lost its disk gets a new id, or it would vote twice in a term.

`election_tick`, `heartbeat_tick`: a follower campaigns after election_tick to 2 * election_tick - 1
ticks of silence; a leader speaks every heartbeat_tick ticks. About 10 to 1: less, and a delayed
packet costs an election.

`applied`: see Starting.

`async_storage_writes`: see above. Disk and network work at the same time, so an entry costs one
round trip or one sync, whichever is longer, instead of their sum.

`max_size_per_msg`: encoded bytes of the entries in one MsgApp, though always one entry at least.
0 means one entry per message, NO_LIMIT no bound. Smaller messages make a lost one cheaper.

`max_committed_size_per_ready`: encoded bytes handed out to be applied and not yet applied, over
several Readys if storage is asynchronous. 0 takes max_size_per_msg, and no bound if that is 0 too.

`max_uncommitted_entries_size`: bytes of data proposed and not yet applied; more raises
ProposalDropped. The first proposal is always accepted. 0 is no bound: a leader cut off from its
quorum then fills its memory.

`max_inflight_msgs`, `max_inflight_bytes`: what may be on its way to one peer unacknowledged. Bytes
in flight bound throughput at bytes / round-trip time: 1 MiB at 100 ms is 10 MiB/s. 0 bytes is no
bound; otherwise at least max_size_per_msg.

`check_quorum`: a leader that hears from no quorum for an election timeout steps down, and nodes
that hear from a leader ignore candidates. Without it a leader that is cut off goes on believing.

`pre_vote`: ask before campaigning, so that a node that was cut off does not depose the leader when
it comes back. Use both.

`read_only_option`: ReadOnlySafe confirms leadership by a round of heartbeats for each batch of
reads. ReadOnlyLeaseBased answers at once and is wrong if a follower's clock runs faster than the
leader's by more than the election timeout allows; it needs check_quorum. A leader that is no
voter any more always asks, and no read is answered before an entry of the term is committed.

`disable_proposal_forwarding`: followers raise ProposalDropped instead of passing proposals on, for
applications that compute something on the leader.

`disable_conf_change_validation`: let any configuration change into the log. Only for those who
check elsewhere: an impossible change stops every node that applies it.

`step_down_on_removal`: a leader that is removed or demoted becomes a follower at once. Recommended;
without it, it goes on leading, without a vote, until another is elected.

`commits_on_request`: a leader whose commit index has moved sends no message for that alone. It goes
with the next entries or heartbeat, or when the host calls `send_held`: where entries follow one
another closely this is half as many messages, and the host knows who cannot wait. Of changes of the
configuration peers hear at once.

`RawNode.choose_spares`: from then on proposals go at once only to as many followers as their commit
needs, those whose logs reach furthest; the others, spares, get them by `send_held`, together. Reads
are confirmed by the same few, and by everyone whom `confirm_read` or a heartbeat that is due asks.
A spare is otherwise like any follower: it is sent what it lacks when it answers a heartbeat,
and what was not held back when it acknowledges. The choice ends with the role and with the
configuration. A host that chooses again when commits or reads are late survives the loss of the
chosen ones.

`logger`: anything with `debug`, `info`, `warning` and `error`, such as a `logging.Logger`; silence
by default. `rand`: `rand(n)` gives 0 to n - 1; the operating system's generator by default.


Differences from etcd-io/raft
=============================

Reads: etcd's shortcut for a single voter comes before its other checks. Here a read is answered
without asking only by the one voter of the configuration, or under a lease by a voter, and only
after a commit in its term. Otherwise a removed leader, or a single voter whose commit index was
lost in a crash, could answer with old state.

Refusals: what would make etcd panic because a peer sent nonsense raises an InvalidMessage here. A
configuration change that could not be applied is refused when it is proposed, instead of stopping
every node. Status tells `auto_leave`. A size limit of 0 for application is no limit.
"""

from . import confchange, quorum, tracker
from .config import Config, Logger, ReadOnlyOption
from .describe import (
    EntryFormatter,
    describe_conf_change,
    describe_conf_state,
    describe_entries,
    describe_entry,
    describe_hard_state,
    describe_message,
    describe_ready,
    describe_snapshot,
    describe_soft_state,
)
from .errors import (
    ErrCompacted,
    ErrSnapOutOfDate,
    ErrSnapshotTemporarilyUnavailable,
    ErrUnavailable,
    InvalidMessage,
    ProposalDropped,
    RaftError,
    RaftPanic,
    StepLocalMsg,
    StepPeerNotFound,
    StorageError,
    UnknownEntry,
    UnsafeMessage,
)
from .rawnode import (
    BasicStatus,
    DebugState,
    Peer,
    ProgressType,
    RawNode,
    Ready,
    SnapshotStatus,
    SoftState,
    Status,
)
from .read_index import ReadState
from .storage import MemoryStorage, Storage
from .types import (
    LOCAL_APPEND_THREAD,
    LOCAL_APPLY_THREAD,
    NO_LIMIT,
    NONE,
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Snapshot,
    SnapshotMetadata,
    StateType,
    entry_size,
    is_empty_hard_state,
    is_empty_snap,
    is_local_msg,
    is_local_msg_target,
    is_response_msg,
    must_sync,
    payload_size,
)

__all__ = [
    "LOCAL_APPEND_THREAD", "LOCAL_APPLY_THREAD", "NONE", "NO_LIMIT", "BasicStatus", "ConfChange",
    "ConfChangeSingle", "ConfChangeTransition", "ConfChangeType", "ConfChangeV2", "ConfState",
    "Config", "DebugState", "Entry", "EntryFormatter", "EntryType", "ErrCompacted",
    "ErrSnapOutOfDate", "ErrSnapshotTemporarilyUnavailable", "ErrUnavailable", "HardState",
    "InvalidMessage", "Logger", "MemoryStorage", "Message", "MessageType", "Peer", "ProgressType",
    "ProposalDropped", "RaftError", "RaftPanic", "RawNode", "ReadOnlyOption", "ReadState", "Ready",
    "Snapshot", "SnapshotMetadata", "SnapshotStatus", "SoftState", "StateType", "Status",
    "StepLocalMsg", "StepPeerNotFound", "Storage", "StorageError", "UnknownEntry",
    "UnsafeMessage", "confchange",
    "describe_conf_change", "describe_conf_state", "describe_entries", "describe_entry",
    "describe_hard_state", "describe_message", "describe_ready", "describe_snapshot",
    "describe_soft_state", "entry_size", "is_empty_hard_state", "is_empty_snap", "is_local_msg",
    "is_local_msg_target", "is_response_msg", "must_sync", "payload_size", "quorum", "tracker",
]  # fmt: skip
