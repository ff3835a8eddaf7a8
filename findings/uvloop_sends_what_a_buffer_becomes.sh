#!/bin/sh
# uvloop 0.23.0: a transport sends what is in a bytearray when it comes to it, not what was written.
#
# Expected: that `transport.write(buffer)` is done with the buffer when it returns, as asyncio's own
# transports are with Python 3.11, and that it can be filled again.
#
# 8 MB of "A" in a bytearray are written to a peer that does not read yet; then the bytearray is filled
# with "B". The peer got 8,000,000 bytes:
#
#     asyncio, Python 3.11   all of them A
#     uvloop                 A as far as the kernel had room at once (about half of them), and then B
#
# It happens only when the kernel has no room, that is with a slow peer, and never in a test with a few
# bytes. (asyncio of Python 3.12 and later does as uvloop, and its documentation says as little.) What
# works is to write bytes(buffer).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvloop==0.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys

import uvloop

BYTES = 8_000_000


class Reader(asyncio.Protocol):
    def __init__(self):
        self.received = bytearray()
        self.made = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.pause_reading()
        self.made.set_result(None)

    def data_received(self, data):
        self.received += data

    def connection_lost(self, error):
        self.lost.set_result(None)


async def send():
    loop = asyncio.get_running_loop()
    reader = Reader()
    server = await loop.create_server(lambda: reader, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    transport, _ = await loop.create_connection(asyncio.Protocol, *address)
    await reader.made
    buffer = bytearray(b"A" * BYTES)
    transport.write(buffer)
    buffer[:] = b"B" * BYTES
    transport.close()  # when all is sent
    reader.transport.resume_reading()
    await asyncio.wait_for(reader.lost, 60)
    server.close()
    return reader.received.count(b"A"), reader.received.count(b"B")


plain = asyncio.run(send())
fast = uvloop.run(send())
print("A and B by asyncio: {} and {}; by uvloop: {} and {}".format(*plain, *fast))
expected = sys.version_info >= (3, 12) or plain == (BYTES, 0)
sys.exit(not (expected and sum(fast) == BYTES and fast[0] > 0 and fast[1] > 0))
PYTHON
