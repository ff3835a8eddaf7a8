"""Every limit of the store in one place, each with its reason.

Relations between limits are asserted at import: a change that breaks one does not start.
"""

from typing import NamedTuple

KIB = 1024
MIB = 1024 * KIB

INTEGER_MAX = 2**63 - 1
"""What the configuration takes for a number: what travels and is stored in 64 bits."""

ID_MAX = 2**64 - 1
"""The largest id of a member or a cluster: etcd's have all 64 bits."""

# -- one client request, message and connection

REQUEST_BYTES_MAX = 3 * MIB // 2
"""One request: etcd's --max-request-bytes (embed/config.go)."""

BODY_BYTES_MAX = 2 * MIB
"""One message's requests: the largest request and half a MiB of company."""

CLIENT_FRAME_BYTES_MAX = 4 * MIB
"""What a client may send in one frame before its connection is closed. Twice the body, so that a
message slightly too large gets etcd's error instead of a silent disconnect."""

CLIENT_MESSAGE_BYTES_MAX = CLIENT_FRAME_BYTES_MAX + 64 * KIB
CLIENT_FRAMES_MAX = 64
"""Likewise in one message, of which two frames are right, and so much is held until its end."""

BODY_REQUESTS_MAX = 10_000
"""Requests in one message: bounds what one frame can make the decoder allocate."""

REQUEST_ARRAY_MAX = 300
"""Elements of an array within a request: some more than a transaction's 128 operations, so that
somewhat larger ones get etcd's error."""

TOKEN_BYTES_MAX = 1 * KIB
"""A token: ours have 32 letters, a JWT signed with RSA of 4,096 bits 850."""

HEADER_BYTES_MAX = 256 + TOKEN_BYTES_MAX
HEADER_FIELDS_MAX = 16
"""What stands first in a message of a client or a peer: ten numbers and a word, 120 bytes, and a
token."""

REFUSED_MAX, REFUSED_BYTES = 2_000, 256
"""Requests that are not valid in one message, twice what the client library sends in one; beyond,
none of it is let in. What each takes in memory: where the message has a number they go into the
log, too."""

LARGE_ANSWERS_MAX = 128
"""Writes in one message that may be answered with many keys (transactions, deletions of ranges with
prev_kv): as many as operations in a transaction. Reads are bounded by what they read."""

REPLY_WINDOW_BYTES = 64 * MIB
"""Replies one connection may leave unread; six ranges of 10 MB."""

CLIENTS_MAX = 10_000
"""Connections whose windows are remembered: at 300 bytes each 3 MB."""

CLIENT_QUEUE_MESSAGES = 10_000
"""Replies that wait for one client to read them; beyond, it is cut. Bytes are bounded by
REPLY_WINDOW_BYTES."""

CLIENT_UNREAD_BYTES = 1 * MIB
"""While a client leaves more than this unread, besides what the kernel holds, nothing is read from
it: it starts no other large answer before it has taken this one."""

CLIENTS_UNREAD_BYTES_MAX = 96 * MIB
"""What all clients together may leave unread; beyond, those that take nothing are cut after one
second instead of thirty. 96 clients at CLIENT_UNREAD_BYTES, or half of what long reads are given:
their answers make room for those that wait."""

LARGE_ANSWER_BYTES = 64 * KIB
"""Answers to reads of which it is known when they have left the node: the news costs as much as
a tenth of making one."""

CLIENT_LARGE_ANSWERS_BYTES = 8 * MIB
"""While more of them has not left for one client, it gets no other: its reads wait, but for those
with small answers. One that reads has 500 KiB taken each turn, and never waits long."""

LARGE_ANSWERS_BYTES_MAX = 256 * MIB
LONG_ANSWERS_BYTES_MAX = LARGE_ANSWERS_BYTES_MAX * 3 // 4
"""While answers of so many bytes have not left, no other large one is begun; small ones are. The
second is for those that take many slices, so that others of up to 8 MiB go on beside them. Five
ranges of 40 MB, and the last one begun may go beyond."""

READ_TURN_BYTES = 32 * MIB
READ_PAUSE_S = 0.1
"""Results of reads that the applier makes in one turn; a message of more gets `too many requests`
for the rest, other messages wait until what was read had time to leave. A single result may be
larger. 320 MB/s is more than RocksDB gives to a range."""

# -- requests under way in a node

PENDING_BYTES_MAX = 64 * MIB
"""Writes that wait for their result, and as many bytes of reads; beyond, `too many requests`. At
27 MB/s (100,000 puts/s of 256 bytes) this is more than two seconds of work, four times what a
healthy cluster has under way."""

PENDING_READS_MAX = 200_000
"""Reads that wait for their result: at 300 bytes each 60 MB."""

ENTRY_BYTES_TARGET = 512 * KIB
"""The node closes a raft entry at this size, whose fsync (1 ms/MiB) costs less than its hops."""

# -- what is worth a line in the log, as in etcd (embed/config.go, storage/wal/wal.go)

SLOW_REQUEST_S = 0.3
SLOW_APPLY_S = 0.1
SLOW_FSYNC_S = 1.0
SLOW_TOLD_S = 1.0
"""Between two such lines about requests: there may be thousands."""

# -- strangers

STRANGERS_TURN_S = 0.001
"""What all at one door who have not said who they are yet, and those who talk nonsense, get of a
turn together, and the last of them a little more: what others wait for them is as long as a write
takes. Alone they get nearly all time."""


SHAKING_OF_ADDRESS_MAX = 64
"""Connections of one address that have not said who they are yet: when all of them speak at once
they take 64 times 0.2 ms. Their memory, 4 KiB each, is bounded by the descriptors."""

HANDSHAKES_OF_ADDRESS_MAX, HANDSHAKES_OF_ADDRESS_PER_S = 2_000, 200
"""How many an address may begin at once, after a restart of the node, and in the long run: a tenth
of a processor. A client that is closed unheard tries again within a second."""

ADDRESSES_MAX = 10_000
"""Addresses whose handshakes are remembered: 2 MB."""

# -- passwords and tokens

PASSWORDS_WAITING_MAX = 64
PASSWORDS_OF_CLIENT_MAX = 8
"""Messages with passwords that wait for their turn, and those of one connection: at 50 ms each the
last of 64 waits for 3 s, and is answered within its time."""

PASSWORDS_A_MESSAGE_MAX = 16
"""Users to add, or passwords to change, in one message: 0.8 s of work."""

TOKENS_MAX = 50_000
"""Tokens that a member knows; the oldest goes first. At 20 logins a second, what one processor
compares, and 300 s each there are 6,000 from each member."""

AUDIT_KEYS_MAX = 100
"""Keys of one message that the audit log tells, or of one transaction where that is the last that
is told; of the others only how many: a line is 200 KiB at most where keys are longest."""

# -- watches

WATCHES_MAX = 100_000
"""Watches of one node: at 1 KiB each 100 MB; ten times what a busy Kubernetes has."""

WATCH_KEY_BYTES_MAX = 64 * MIB
"""Keys and range ends of all of them together."""

WATCH_WINDOW_BYTES = 1 * MIB
WATCH_WINDOW_MESSAGES = 1_000
"""What a connection may leave unread before its watches go on from disk instead of memory. 100
stalled ones hold 100 MiB. The number of messages is far below CLIENT_QUEUE_MESSAGES."""

WATCH_FRAGMENT_BYTES = REQUEST_BYTES_MAX
"""Events of one response of a watch that asked for fragments, but for a larger single one."""

WATCH_PROGRESS_S = 600.0
"""How often a quiet watch that asked for it hears how far it is (etcd: 10 min)."""

WATCH_PROGRESS_MS_MIN = 100
"""As etcd's minWatchProgressInterval (v3rpc/watch.go)."""

BCRYPT_COSTS = (4, 31)
"""The least and the most that bcrypt knows."""

WATCH_KEEPALIVE_S = 5.0
"""How often a client that watches says something at least."""

WATCH_SILENCE_S = 6 * WATCH_KEEPALIVE_S
"""After so long without a word the watches of a client go: it died without closing its connection,
and what it does not hear about it cannot miss."""

WATCH_NO_LEADER_S = 3.0
"""Three election timeouts without a leader end the watches that want one, as etcd."""

WATCH_FEED_BYTES = 8 * MIB
"""Events on their way from the applier to the node's watches. Beyond, the watches are told of a gap
and read what is in it from disk at their own pace, so that no crowd of watchers makes memory grow
or holds up the applier."""

WATCH_TURN_PAIRS = 20_000
"""Events times watchers that the node hands out in one turn: about 10 ms."""

WATCH_STEP_CHUNKS = 8
"""Chunks of history that the applier reads in one turn for watches that catch up: 1 ms, and 512 KiB
at most but for a larger revision."""

WATCH_PAUSE_S = 0.002
"""Between two such reads, so that they take a part of the applier's time only."""

# -- the gateway: etcd's clients over HTTP

GRPC_MESSAGE_BYTES_MAX = REQUEST_BYTES_MAX + 512 * KIB
"""One gRPC request message, as etcd: the largest request and the rest of its message."""

HTTP_BODY_BYTES_MAX = 2 * GRPC_MESSAGE_BYTES_MAX
"""The same as JSON: base64 takes a third more, names and punctuation the rest."""

HTTP_HEADER_BYTES_MAX = 32 * KIB
"""A request's header block and the list made of it: four times what clients are used to (grpc's
default is 8 KiB). A token is below 1 KiB."""

HTTP_STREAMS_MAX = 16_384
"""Calls of one connection that are under way: etcd has no limit, and some clients of it one
connection for everything, such as 10,000 watches. At 2 KiB each 32 MiB."""

HTTP_CALLS_MAX = 65_536
"""Calls of all connections together; beyond, `too many requests`: 128 MiB."""

HTTP_CONNECTIONS_MAX = CLIENTS_MAX
"""Connections of the gateway; further ones are closed at once."""

GATEWAY_TOKENS_MAX = 1_000
"""Users' tokens that the gateway uses at the same time, each on a connection of its own to the
node: two files, some 50 KiB, and at four looks a second each a twentieth of a processor in all."""

HTTP_WINDOW_BYTES, HTTP_CONNECTION_WINDOW_BYTES = 1 * MIB, 8 * MIB
"""What a client may send on a stream and on a connection before it hears more: most requests need
no word, and at 10 ms of distance 100 MB/s are possible."""

HTTP_UNFINISHED_BYTES_MAX = 128 * MIB
"""Request messages of all connections of which a part is missing: 64 of the largest at once."""

HTTP_QUEUE_BYTES_MAX = 64 * KIB
"""What one stream of answers may leave unread before it is asked to wait."""

HTTP_UNREAD_BYTES_MAX = 8 * REPLY_WINDOW_BYTES
HTTP_SMALL_ANSWER_BYTES = 4 * KIB
"""What a connection and all connections may leave unread together; beyond, whoever has a larger
answer than a small one gets `too many requests` instead. So one alone may leave 256 MiB, two 171
each, and all of them 512, the last answer of each not counted. All calls of a connection with small
ones are 64 MiB more."""

HTTP_CROWDED_BYTES = HTTP_UNREAD_BYTES_MAX * 3 // 4
HTTP_CROWDED_S = 1.0
"""While all leave more than this, who has taken nothing for so long is cut, as at the client's
door. One or two never leave as much; beside three that do, a fourth had room for no answer of more
than 128 MiB."""

HTTP_OUT_BYTES = 256 * KIB
"""What is made into frames before the socket takes it: four of asyncio's buffers."""

HTTP_NUISANCES_MAX, HTTP_NUISANCES_PER_S = HTTP_STREAMS_MAX + 4_096, 1_000
"""Frames that cost something and carry nothing, such as resets: as many at once as there may be
calls to give up, and a rate that costs 1 % of a processor. Beyond, the connection goes."""

HTTP_HELLO_S = 20.0
"""How long a connection may take to say what it speaks, and a request over HTTP/1.1 to arrive."""

HTTP_PING_S, HTTP_PING_TIMEOUT_S = 60.0, 20.0
"""After so long without a word a client over HTTP/2 is asked whether it lives, and is gone when it
does not answer. Go's servers probe likewise, by TCP."""

HTTP_LINGER_S = 1.0
"""How long a connection stays open after our good-bye: a socket that is closed with something
unread takes back what was on its way to the client. As Go's server."""

HTTP_IDLE_S = 300.0
"""An HTTP/1.1 connection without a request is closed; clients keep idle ones for a minute or so."""

HTTP_PING_MIN_S, HTTP_PING_IDLE_MIN_S, HTTP_PING_STRIKES_MAX = 5.0, 7_200.0, 2
"""How often a client may ask us: etcd's --grpc-keepalive-min-time while calls are under way,
grpc-go's defaultPingTimeout without any, and how often it may be too early between two answers."""

# -- raft

MSG_APP_BYTES_MAX = 1 * MIB
"""MaxSizePerMsg, as etcd (etcdserver/raft.go)."""

INFLIGHT_MESSAGES_MAX = 256
INFLIGHT_BYTES_MAX = 16 * MIB
"""Unacknowledged appends to one follower: half a second at 27 MB/s, far more than a round trip."""

UNCOMMITTED_BYTES_MAX = 2 * PENDING_BYTES_MAX
"""The leader's uncommitted tail: its own clients' and those that followers forward."""

COMMITTED_BYTES_PER_READY = 4 * MIB
"""What the applier gets at once: about 50 ms of work, so reads and status are never far behind."""

ELECTION_TICKS_MIN_RATIO = 5
"""Election timeout / heartbeat interval, as etcd: fewer and one lost heartbeat elects."""

ELECTION_MS_MAX = 50_000
"""As etcd: beyond, a dead leader is an outage, not a hiccup."""

TICKS_CAUGHT_UP_MAX = 128
"""Ticks made up after a pause, as etcd's buffered tickc; more would only repeat elections."""

HOLD_S = 0.010
"""How long news that nobody waits for is held back, in case other news leaves in the same message:
that a follower's write is durable, that the commit index moved. Each would cost a wake-up an entry,
and on a busy machine wake-ups are what an entry costs: 64 clients' entries are 5 ms apart, and with
5 ms here the news often left just before its companion came."""

SPARED_BYTES_MAX = 32 * KIB
"""Entries held back from followers that their commit does not need, for HOLD_S at most."""

PROPOSAL_HOLD_S, PROPOSAL_HOLD_BYTES = 0.003, 32 * KIB
"""How long a node holds writes back while an entry of its own is under way, unless there are so
many already: an entry costs three nodes as much as forty puts. Where requests come one by one and
nodes share processors, many small entries are what makes all of them wait. It is about the time
that an entry takes, so who waits for it loses no more than that."""

LOG_MARK_S = 1.0
"""How often what is durable in the log is noted beside it, when that has changed: a small write and
an fsync, by which an older copy of the log is recognised."""

APPLIED_HOLD_S = 0.05
"""Likewise for the core's news of what was applied, which it needs only to hand out more."""

ASKED_S = 0.1
"""How long after a request of its own clients a follower holds nothing back: longer than a request
takes, so that one client after the other is answered without delay."""

APPLIED_UNSAID_BYTES_MAX = COMMITTED_BYTES_PER_READY // 4
"""Applied bytes whose news is not held back: the core waits for it before it hands out more."""

COMPACT_STEP_VERSIONS = 384
COMPACT_STEP_VERSIONS_MAX = 4_096
COMPACT_PAUSE_S = 0.01
"""Compacted history goes in steps of 0.3 ms, two chunks, with pauses between (etcd: 1,000 versions
and 10 ms), so that nothing that is under way notices it: 25,000 events a second, or, when much is
written, more than that."""
COMPACT_WORK_PER_WRITE = 4
"""Versions to be looked at for each that was written meanwhile. Each is looked at twice at most,
and the chunks count, too: the work ends."""

INSPECTIONS_MAX = 64
"""Messages with questions that take a while (hash_kv, compacted) that a node has under way."""

INSPECT_PAUSE_S = 0.002
"""Between two slices of their work, of about 2 ms each: half of one processor, so that a million
keys are hashed in two seconds and nothing else waits for more than a slice."""

# -- the log

LOG_ENTRIES_MAX = 40_000
LOG_BYTES_MAX = 64 * MIB


HELD = 4
"""Times its bound that a log may hold for others."""


class LogLimits(NamedTuple):
    """When the log is compacted and what is left of it; all follows from two numbers."""

    entries_max: int = LOG_ENTRIES_MAX
    bytes_max: int = LOG_BYTES_MAX
    """The log is compacted after so many entries or bytes since the last time. The core keeps the
    same window in memory, so this bounds its memory too. etcd has --snapshot-count for it."""

    @property
    def keep_entries(self) -> int:
        """What compaction leaves for followers that are a little behind (etcd: 5,000)."""
        return self.entries_max // 8

    @property
    def keep_bytes(self) -> int:
        """Likewise in bytes."""
        return self.bytes_max // 2

    @property
    def held_bytes_max(self) -> int:
        """Entries that a follower needs which answers are kept up to this, those after a snapshot
        on its way as well; beyond, they go, and the follower takes a snapshot, or another one. What
        only the archive needs may take half of it: a log must never become so full that it takes no
        more."""
        return HELD * self.bytes_max

    @property
    def held_entries_max(self) -> int:
        """Likewise in entries."""
        return HELD * self.entries_max

    @property
    def flush_entries(self) -> int:
        """The state database is flushed after so much was applied, so that the log can be
        compacted behind it."""
        return self.entries_max // 2

    @property
    def flush_bytes(self) -> int:
        """Likewise in bytes."""
        return self.bytes_max // 2


LOG_ENTRIES_MIN, LOG_BYTES_MIN = 64, 64 * KIB
"""Smaller logs would flush and compact for every few writes."""

# -- peers

PEER_FRAME_BYTES_MAX = 8 * MIB
"""What a peer may send in one frame: a MsgApp of MSG_APP_BYTES_MAX may hold one entry more, and an
entry is at most ENTRY_BYTES_TARGET plus a body."""

PEER_FRAMES_MAX = 1_024
"""Frames in one message from a peer."""

PEER_QUEUE_BYTES = 32 * MIB
"""Sent to a peer and not yet acknowledged by its transport; beyond, messages are dropped and raft
is told that the peer is unreachable."""

PEER_MESSAGE_BYTES_MAX = PEER_QUEUE_BYTES + 1 * MIB
"""What a peer may send in one message: all that its transport lets be under way, and the header."""

SNAPSHOT_CHUNK_BYTES = 256 * KIB
SNAPSHOT_WINDOW_CHUNKS = 8
"""Snapshot chunks under way: 2 MiB, so a snapshot delays heartbeats by no more than their time."""

SNAPSHOT_TIMEOUT_S = 10.0
"""A snapshot stream without progress for this long has failed."""

SNAPSHOT_KEPT_S = 60.0
"""What came of a stream that was cut is kept so long for the next: a leader begins anew within
seconds of a member's start, an election included."""

SNAPSHOT_BYTES_PER_S_MIN = MIB
"""The slowest that snapshots may be told to travel: four chunks a second, so that three streams
that share it move within the timeout."""

# -- local channels

LOCAL_QUEUE_MESSAGES = 100_000
"""ZeroMQ's queue between two actors. Bytes are bounded by the protocol: by PENDING_BYTES_MAX
towards the core, INFLIGHT and UNCOMMITTED from it. Reaching it is a bug, and stops the node."""

DRAIN_MESSAGES_MAX = 1_000
DRAIN_BYTES_MAX = 16 * MIB
"""Messages an actor takes from its inbox before it acts on them, and bytes from the outside."""

LEARNERS_MAX = 1
"""Learners in a cluster at a time, as etcd: the leader sends each a whole copy."""
REMOVED_MEMBERS_MAX = 1000
"""Removed members that are remembered, so that they are told when they come back: 60 bytes each."""
MEMBER_CHANGES_MAX = 16
"""Changes of members in one request: all of five members and more can be replaced at once."""
MEMBER_PEERS_MAX = 8
"""Peer addresses of one member."""
HEALTHY_ELECTIONS = 5
"""Election timeouts for which a member must have been heard without a pause before others may be
added or removed (etcd: 5 s, with elections of 1 s)."""

assert WATCH_WINDOW_BYTES <= CLIENT_UNREAD_BYTES < REPLY_WINDOW_BYTES < CLIENTS_UNREAD_BYTES_MAX
assert LARGE_ANSWER_BYTES < CLIENT_UNREAD_BYTES < CLIENT_LARGE_ANSWERS_BYTES
assert CLIENTS_UNREAD_BYTES_MAX < LONG_ANSWERS_BYTES_MAX, "who stalls long reads must be cut"
assert WATCH_WINDOW_MESSAGES < CLIENT_QUEUE_MESSAGES // 2
assert REQUEST_BYTES_MAX < BODY_BYTES_MAX < CLIENT_FRAME_BYTES_MAX
assert BODY_BYTES_MAX + ENTRY_BYTES_TARGET + MSG_APP_BYTES_MAX < PEER_FRAME_BYTES_MAX
assert MSG_APP_BYTES_MAX <= INFLIGHT_BYTES_MAX <= PEER_QUEUE_BYTES
assert SNAPSHOT_CHUNK_BYTES * SNAPSHOT_WINDOW_CHUNKS < PEER_QUEUE_BYTES // 4
assert GRPC_MESSAGE_BYTES_MAX <= HTTP_CONNECTION_WINDOW_BYTES
assert HTTP_STREAMS_MAX <= HTTP_CALLS_MAX
assert HTTP_UNREAD_BYTES_MAX * 2 // 3 < HTTP_CROWDED_BYTES, "one or two have to be cut for nobody"
