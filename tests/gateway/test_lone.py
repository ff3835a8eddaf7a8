"""The gateway's connection to its node: what leaves at once, and what waits for the turn's end."""

import asyncio

from sampan.client._dispatch import Dispatcher
from sampan.client._tasks import TaskLoop
from sampan.transport import codec
from sampan.transport.requests import KIND_SERIALIZABLE

RANGE = ("range", b"k")
HEADER = (5, 6, 1, 6)


class Outgoing:
    """Stands for the connection; `sent` has the requests of each message."""

    def __init__(self):
        self.sent = []

    def send(self, frames):
        self.sent.append(codec.unpack(frames[1]))
        return True

    def close(self):
        pass


async def asked(loop):
    dispatcher = Dispatcher(TaskLoop(loop), ["127.0.0.1:1"])
    (link,) = dispatcher.links
    outgoing = link._outgoing = Outgoing()
    link.on_ready(outgoing)
    link.on_messages(outgoing, [[codec.pack((1, 99, *HEADER)), codec.pack([])]])  # who is there
    await asyncio.sleep(0)

    def ask():
        future = loop.create_future()
        lane = dispatcher.lanes[KIND_SERIALIZABLE]
        dispatcher.queue(lane, future, RANGE, 1, 60.0, lone=True)
        return future

    return dispatcher, link, outgoing, ask


def test_what_finds_nothing_under_way_is_sent_at_once():
    async def run():
        dispatcher, link, outgoing, ask = await asked(asyncio.get_running_loop())
        first = ask()
        assert outgoing.sent == [(RANGE,)]
        second, third = ask(), ask()
        assert len(outgoing.sent) == 1, "they may share a message"
        await asyncio.sleep(0)
        assert outgoing.sent[1:] == [(RANGE, RANGE)]
        for message_id in list(link.inflight):
            results = [(0, 1, 0, False, [])] * len(link.inflight[message_id].calls)
            link.on_messages(
                outgoing, [[codec.pack((1, message_id, *HEADER)), codec.pack(results)]]
            )
        assert all([first.done(), second.done(), third.done()])
        last = ask()
        assert len(outgoing.sent) == 2, "where two came together, others may"
        await asyncio.sleep(0)
        assert len(outgoing.sent) == 3
        last.cancel()
        dispatcher.close()

    asyncio.run(run())
