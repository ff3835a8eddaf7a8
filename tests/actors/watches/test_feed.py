"""What the feed reads for the watches."""

import random

from sampan.actors.watches.feed import WatchFeed
from sampan.storage import mvcc
from sampan.storage.state_store import StateStore
from sampan.transport.codec import unpack_local

CHUNKS = 8
KEYS = [b"%04d" % n for n in range(CHUNKS * 128)]


def test_what_a_deleted_range_was_is_read_chunk_by_chunk(tmp_path, monkeypatch):
    """Its keys were put in another order than theirs: each would cost a chunk."""
    state = StateStore(tmp_path / "state")
    order = random.Random(7).sample(KEYS, len(KEYS))
    state.apply(1, 1, [("put", key, b"value of " + key) for key in order])
    state.commit()
    told, decoded = [], []
    feed = WatchFeed(told.append)
    feed.take(("request", 1, [(b"0", b"a", True)]), state)
    state.apply(2, 1, [("delete", b"0", b"a")])
    decode = mvcc.decode_chunk
    monkeypatch.setattr(mvcc, "decode_chunk", lambda chunk: decoded.append(0) or decode(chunk))
    feed.tell(state)
    while feed.telling:
        feed.tell(state)
    _, (kind, _, events, _) = told
    assert kind == "live"
    assert [key for _, key, *_ in events] == KEYS
    previous = [unpack_local(with_prev)[2] for *_, with_prev in events]
    assert [(kv[0], kv[5]) for kv in previous] == [(key, b"value of " + key) for key in KEYS]
    assert len(decoded) <= 2 * CHUNKS
    state.close()
