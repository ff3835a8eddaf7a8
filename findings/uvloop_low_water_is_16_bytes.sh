#!/bin/sh
# uvloop 0.23.0: a transport's low-water mark is 16 bytes, where asyncio's is 16 KiB.
#
# asyncio pauses a protocol's writing when 64 KiB wait to be sent, and resumes it at 16 KiB, so that there
# is something left to send while the next part is made. uvloop has the same 64 KiB.
#
# Expected: get_write_buffer_limits() (16384, 65536) with either, as both say that they are alike.
#
#                                           asyncio          uvloop
#     a new transport                       (16384, 65536)   (16, 65536)
#     set_write_buffer_limits()             (16384, 65536)   (16384, 65536)
#     left in the buffer at resume_writing  11,296           0
#
# So whoever waits for resume_writing, or for StreamWriter.drain, begins again only when all is sent. The
# mark that no arguments give is right: a call that looks as if it changed nothing mends it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvloop==0.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import socket
import sys

import uvloop


class Writer(asyncio.Protocol):
    def __init__(self):
        self.left = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def resume_writing(self):
        self.left.set_result(self.transport.get_write_buffer_size())


async def look():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # the kernel takes little at a time
    theirs.setblocking(False)
    transport, writer = await loop.create_unix_connection(Writer, sock=ours)
    found = [transport.get_write_buffer_limits()]
    transport.write(bytes(100_000))
    while not writer.left.done():
        await asyncio.wait_for(loop.sock_recv(theirs, 1000), 60)
    transport.set_write_buffer_limits()
    found += [transport.get_write_buffer_limits(), await writer.left]
    transport.abort()
    theirs.close()
    return found


plain = asyncio.run(look())
fast = uvloop.run(look())
print(f"asyncio {plain}, uvloop {fast}")
sys.exit(plain[:2] != [(16384, 65536)] * 2 or fast != [(16, 65536), (16384, 65536), 0])
PYTHON
