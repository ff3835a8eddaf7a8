#!/bin/sh
# grpclib 0.4.9 (Python 3.11): a deadline that is passed on from service to service loses a whole second at
# every hop, while it is more than ten seconds away.
#
# Expected: what a hop takes, a few milliseconds, as with grpcio, which rounds up. A client gives 15 seconds;
# each service calls the next with `timeout=stream.deadline.time_remaining()`, at once; they have:
#
#     hop    1     2     3     4     5     6
#     s     14.0  13.0  12.0  11.0  10.0  10.0
#
# What is left of 15 seconds is 14.99, and is sent as 14S: above ten seconds the fraction is cut off. The
# deadline then ends that call with DEADLINE_EXCEEDED, seconds before the client's time is over, so that
# the fault seems to lie with the last service. A direct call's deadline of 10.9 is 10, likewise.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet grpclib==0.4.9
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import socket
import sys

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server

HOPS = 6


class Raw(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message, message_type):
        return message

    def decode(self, data, message_type):
        return data


class Services:
    """A service that calls itself, as if it were the next one, HOPS times."""

    def __init__(self, port):
        self.channel = Channel("127.0.0.1", port, codec=Raw())
        self.next = UnaryUnaryMethod(self.channel, "/chain/Next", bytes, bytes)
        self.left_s = []

    async def serve(self, stream):
        await stream.recv_message()
        self.left_s.append(stream.deadline.time_remaining())
        if len(self.left_s) < HOPS:
            await self.next(b"", timeout=stream.deadline.time_remaining())
        await stream.send_message(b"")

    def __mapping__(self):
        return {"/chain/Next": Handler(self.serve, Cardinality.UNARY_UNARY, bytes, bytes)}


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    services = Services(listener.getsockname()[1])
    server = Server([services], codec=Raw())
    await server.start(sock=listener)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await services.next(b"", timeout=15)
    took_s = loop.time() - begun
    services.channel.close()
    server.close()
    await server.wait_closed()
    print(*(f"{left:.2f}" for left in services.left_s), f"after {took_s:.2f} s")
    lost_s = 15 - services.left_s[4]
    sys.exit(not lost_s - took_s > 3)


asyncio.run(main())
PYTHON
