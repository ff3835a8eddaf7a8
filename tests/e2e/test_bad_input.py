"""Hostile bytes on every socket: typed errors or silence, and nobody else notices."""

import json
import os
import random
import socket
import time

import pytest
import zmq
from sampan.client import Client
from sampan.client.errors import RequestTooLargeError
from sampan.config import limits
from sampan.raft import (
    ConfState,
    Entry,
    EntryType,
    Message,
    MessageType,
    Snapshot,
    SnapshotMetadata,
)
from sampan.transport import codec, errors, sockets
from sampan.transport.raft_messages import encode_message

from .cluster import WAIT_S, wait_for
from .load import Load

ROUNDS = 300
"""Random messages a socket."""
AGAIN_S = 10.0
WAIT_MS = int(WAIT_S * 1000)


def garbage(rng):
    """A few hundred bytes of anything, msgpack now and then."""
    kind = rng.randrange(5)
    if kind == 4:
        return b"\xdc\x27\x10" * 1_000  # arrays in arrays, ten thousand elements each
    if kind == 0:
        return rng.randbytes(rng.randrange(300))
    if kind == 1:
        return codec.pack(random_value(rng, 4))
    if kind == 2:
        return b"\x91" * rng.randrange(1, 600)
    return b"\xdd\xff\xff\xff\xff" + rng.randbytes(20)


def random_value(rng, depth):
    """Any msgpack value."""
    leaves = (None, True, -1, 2**64 - 1, 1.5, b"", b"key", "put", "range", "txn", 0)
    if not depth or rng.random() < 0.4:
        return rng.choice(leaves)
    items = [random_value(rng, depth - 1) for _ in range(rng.randrange(5))]
    if rng.random() < 0.2:
        return {str(n): item for n, item in enumerate(items)}
    return items


@pytest.fixture
def busy_cluster(make_cluster):
    """A cluster under load whose processes must all be the same in the end."""
    cluster = make_cluster().start()
    before = {name: cluster.pids(name) for name in cluster.names}
    with Load(cluster.endpoints, writers=2, readers=1) as load:
        load.wait_more()
        yield cluster
        load.wait_more()
    assert {name: cluster.pids(name) for name in cluster.names} == before, cluster.log()[-5000:]
    assert '"level": "error"' not in cluster.log()
    load.verify()
    cluster.wait_equal()
    cluster.stop()


def tcp_garbage(address):
    """Bytes that are not even ZeroMQ, connections that say nothing, and half greetings."""
    host, port = address.split(":")
    rng = random.Random(1)
    idle = []
    for n in range(40):
        connection = socket.create_connection((host, int(port)), timeout=10)
        idle.append(connection)
        if n % 4 == 1:
            connection.sendall(rng.randbytes(2000))
        elif n % 4 == 2:
            connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03")
        elif n % 4 == 3:
            # An old greeting, after which libzmq takes frames without a handshake.
            connection.sendall(b"\x01\x00" + b"".join(b"\x05\x00" + b"abcd" for _ in range(50)))
    return idle


def test_hostile_clients(busy_cluster):
    cluster = busy_cluster
    name, rng = cluster.names[0], random.Random(7)
    endpoint = cluster.endpoints[0]
    idle = tcp_garbage(endpoint)
    with sockets.context() as ctx, sockets.client_dealer(ctx, endpoint) as dealer:
        dropped = cluster.wait_status(name)["client_frames_dropped"]
        for _ in range(ROUNDS):
            dealer.send_multipart([garbage(rng) for _ in range(rng.choice((1, 2, 2, 2, 3, 9)))])
        for n in range(ROUNDS):
            kind = rng.choice(("write", "read", "serializable", "maintenance"))
            dealer.send_multipart([codec.pack((1, n, kind, 1000)), garbage(rng)])
        newer = codec.pack((2, 10**7, "read", 1000, 0, 0, 0, 0, 1))
        dealer.send_multipart([newer, b""])
        # The same connection is still served.
        dealer.send_multipart([codec.pack((1, 10**6, "read")), codec.pack([("range", b"k")])])
        answers = {}
        while 10**6 not in answers:
            assert dealer.poll(WAIT_MS), f"{len(answers)} answers and then none"
            header, body = dealer.recv_multipart()
            answers[codec.unpack(header)[1]] = result = codec.unpack(body, array_max=10**6)
            assert_typed(result)
        assert result[0][0] == 0
        assert answers[10**7] == tuple(errors.UNSUPPORTED_VERSION)
        assert len(answers) > ROUNDS
    wait_for(
        lambda: cluster.wait_status(name)["client_frames_dropped"] > dropped + 50,
        "drops to be counted",
    )
    for connection in idle:
        connection.close()


def assert_typed(result):
    """A result is an error of the protocol, or a list of results and errors."""
    several = result if type(result[0]) is tuple else (result,)
    for one in several:
        assert one[0] == 0 or (one[0] in range(1, 17) and one[2] in ("not applied", "unknown")), one


def test_requests_at_the_limits(busy_cluster):
    """etcd's error one byte over 1.5 MiB, also for a body that no request fits; beyond what it
    accepts the connection goes, and only that one."""
    cluster = busy_cluster
    key, fits = b"load", bytes(limits.REQUEST_BYTES_MAX - 100)
    with Client([cluster.endpoints[0]], timeout_s=WAIT_S) as client:
        client.put(b"big", fits)
        with pytest.raises(RequestTooLargeError, match="etcdserver: request is too large"):
            client.put(b"big", bytes(limits.REQUEST_BYTES_MAX + 1))
        assert len(client.get(b"big").kvs[0].value) == len(fits)
    too_large = tuple(errors.REQUEST_TOO_LARGE)
    with sockets.context() as ctx, sockets.client_dealer(ctx, cluster.endpoints[0]) as dealer:
        for size in (limits.BODY_BYTES_MAX + 1, limits.CLIENT_FRAME_BYTES_MAX):
            body = codec.pack([("put", key, bytes(size - 30))]).ljust(size, b"\0")
            dealer.send_multipart([codec.pack((1, size, "write")), body])
            assert dealer.poll(WAIT_MS)
            header, reply = dealer.recv_multipart()
            assert codec.unpack(header)[1] == size
            assert codec.unpack(reply) == too_large
        many = [("put", key, b"")] * (limits.BODY_REQUESTS_MAX + 1)
        dealer.send_multipart([codec.pack((1, 5, "write")), codec.pack(many)])
        assert dealer.poll(WAIT_MS)
        assert codec.unpack(dealer.recv_multipart()[1])[0] == errors.INVALID_ARGUMENT
        dealer.send_multipart(
            [codec.pack((1, 6, "write")), bytes(limits.CLIENT_FRAME_BYTES_MAX + 1)]
        )
        with Client([cluster.endpoints[0]], timeout_s=WAIT_S) as client:
            assert client.get(b"big").count == 1


def peer_header(cluster, sender, receiver, kind, term=1, *, cluster_id=None, incarnation=None):
    identity = json.loads((cluster.data(sender) / "identity").read_text())
    ids = {name: cluster.names.index(name) + 1 for name in cluster.names}
    return codec.pack(
        (
            2, cluster_id or identity["cluster_id"], ids[sender], ids[receiver],
            identity["incarnation"] if incarnation is None else incarnation,
            1, 0, 0, 0, kind, 2**40, term, 2**40,
        )
    )  # fmt: skip


def invalid_messages(sender, receiver, term):
    """Well-formed raft messages that no correct peer sends."""
    base = Message(type=MessageType.MsgHeartbeat, from_=sender, to=receiver, term=term)
    wrong = [
        Message(type=kind, from_=sender, to=receiver, term=t, index=2**62, commit=2**62)
        for kind in MessageType
        if kind not in (MessageType.MsgTimeoutNow, MessageType.MsgTransferLeader)  # may depose
        for t in (0, 2**63, 2**64 - 1)
    ]
    snapshot = Snapshot(b"../../etc", SnapshotMetadata(ConfState(voters=[1, 2, 3]), 2**40, term))
    wrong.append(
        Message(type=MessageType.MsgSnap, from_=sender, to=receiver, term=term, snapshot=snapshot)
    )
    wrong.append(
        Message(
            type=MessageType.MsgApp, from_=sender, to=receiver, term=term,
            entries=[Entry(term, 9, EntryType.EntryNormal, b""),
                     Entry(term, 7, EntryType.EntryNormal, b"")],
        )
    )  # fmt: skip
    return [encode_message(m) for m in [*wrong, base_from_elsewhere(base)]]


def base_from_elsewhere(message):
    message.from_ = 77
    return message


def send_nonsense(dealer, cluster, names, rng, term):
    """To the peer socket of `target`, in the name of `sender`."""
    sender, target, leader = names
    from_, to = (cluster.names.index(name) + 1 for name in (sender, target))
    for _ in range(ROUNDS):
        dealer.send_multipart([garbage(rng) for _ in range(rng.choice((1, 2, 5)))])
    for kind in ("raft", "snap", "nonsense", 5, None, [], {}):
        header = peer_header(cluster, sender, target, kind)
        for _ in range(20):
            dealer.send_multipart([header, *(garbage(rng) for _ in range(3))])
    snap = peer_header(cluster, sender, target, "snap")
    for value in (({},), ("begin", "../x", b"", b""), ("chunk", "x", 1, "y", -1, b""), ((),)):
        dealer.send_multipart([snap, codec.pack(value)])
    raft = peer_header(cluster, sender, target, "raft")
    for frame in invalid_messages(from_, to, term):
        dealer.send_multipart([raft, frame])
    dealer.send_multipart([raft, *([b""] * (limits.PEER_FRAMES_MAX + 1))])
    for header in (
        peer_header(cluster, sender, target, "raft", cluster_id=99),
        peer_header(cluster, sender, target, "raft", incarnation=99),
        peer_header(cluster, sender, leader, "raft"),
    ):
        dealer.send_multipart([header, b""])


def test_hostile_peers(busy_cluster):
    cluster = busy_cluster
    leader = cluster.wait_leader()
    target, sender = cluster.followers()
    peer = cluster.peers[cluster.names.index(target)]
    rng = random.Random(3)
    idle = tcp_garbage(peer)
    before = cluster.status(target)
    with sockets.context() as ctx, sockets.client_dealer(ctx, peer) as dealer:
        assert dealer.poll(10_000, zmq.POLLOUT)
        sent_at = float("-inf")

        def counted():
            nonlocal sent_at
            if time.monotonic() - sent_at > AGAIN_S:  # a connection that breaks loses what it holds
                sent_at = time.monotonic()
                send_nonsense(dealer, cluster, (sender, target, leader), rng, before["term"])
            now = cluster.status(target)
            return (
                now["peer_malformed"] >= before["peer_malformed"] + ROUNDS
                and now["peer_refused"] >= before["peer_refused"] + 3
                and now["peer_strange"] >= before["peer_strange"] + 60
            )

        wait_for(counted, "drops and refusals to be counted")
    for connection in idle:
        connection.close()
    assert cluster.wait_leader() == leader, "nobody was deposed"
    assert not os.path.exists(cluster.data(target) / "x")
