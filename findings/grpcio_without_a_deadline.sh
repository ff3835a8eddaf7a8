#!/bin/sh
# grpcio 1.85.3: a timeout of infinity has passed at once, and it is what a call without one is told to have.
#
# A service that calls another gives it the time that it has left itself, `timeout=context.time_remaining()`.
#
#     timeout of the client        of the second service's call   the second service's answer
#     60                           59.99…                         comes
#     None                         9.2e18                         DEADLINE_EXCEEDED, at once
#
#     asked directly: None         comes
#                     1e9          comes
#                     1e10         DEADLINE_EXCEEDED, at once
#                     math.inf     DEADLINE_EXCEEDED, at once
#
# Expected: `time_remaining()` "or None if no deadline was specified for the RPC", as its documentation has
# it, as grpc.aio's is, and as a timeout may be; and of a very long timeout, that it is very long. The first
# is an open issue of 2021; together they let a chain of services fail only for those clients that gave
# it all the time in the world.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet grpcio==1.85.3
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import math
import sys
from concurrent import futures

import grpc


class Told(grpc.GenericRpcHandler):
    """Says how long it has; Forward asks another service that."""

    def service(self, details):
        call = {"/s/Told": told, "/s/Forward": forward}[details.method]
        return grpc.unary_unary_rpc_method_handler(call)


def told(request, context):
    return repr(context.time_remaining()).encode()


def forward(request, context):
    return ask("/s/Told", context.time_remaining()).encode()


def ask(method, timeout):
    """The answer, or the status."""
    with grpc.insecure_channel(target) as channel:
        try:
            return channel.unary_unary(method)(b"", timeout=timeout).decode()
        except grpc.RpcError as error:
            return error.code().name


async def told_by_aio():
    async def handler(request, context):
        return told(request, context)

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(handler)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("s", {"Told": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await channel.unary_unary("/s/Told")(b"")
    await server.stop(0)
    return answer.decode()


server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([Told()])
target = "127.0.0.1:{}".format(server.add_insecure_port("127.0.0.1:0"))
server.start()
forwarded = {timeout: ask("/s/Forward", timeout) for timeout in (60, None)}
direct = {timeout: ask("/s/Told", timeout) for timeout in (None, 1e9, 1e10, math.inf)}
server.stop(0).wait()
by_aio = asyncio.run(told_by_aio())
print(f"forwarded {forwarded}\ndirect {direct}\nwithout a timeout, by grpc.aio: {by_aio}")
GONE = "DEADLINE_EXCEEDED"
sys.exit(
    GONE in (forwarded[60], direct[None], direct[1e9])
    or {forwarded[None], direct[1e10], direct[math.inf]} != {GONE}
    or float(direct[None]) < 9e18
    or by_aio != "None"
)
PYTHON
