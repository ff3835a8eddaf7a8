#!/bin/sh
# grpcio 1.85.3, grpc.aio (Python 3.11): waiting for the next message of a stream with a time limit ends
# the stream when the time is over; `async for` then takes it for one that the server has finished.
#
# Expected: asyncio.wait_for gives up the waiting, not the stream, as with StreamReader.readline() and
# Queue.get(); or, if the call is lost, an error from then on. The server sends a message every half
# second, for ever; the client waits for a tenth:
#
#     await wait_for(anext(messages), 0.1)              TimeoutError
#     async for message in messages                     no message, no error: the loop is over
#     await call.read(), of a call so read              CancelledError, in a task nobody cancelled
#     the same, through an interceptor                  grpc.aio.EOF, as of a finished stream
#     await call.code()                                 StatusCode.CANCELLED
#
# A program that looks now and then whether a watch has news, and has the usual loop around it, believes
# that the server has ended it well; only the code tells. What works is a limit that does not
# cancel: asyncio.wait({task}, timeout=…) of a task that awaits the message.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet grpcio==1.85.3
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys

import grpc
import grpc.aio


class Passes(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, go_on, details, request):
        return await go_on(details, request)


async def ticks(_request, _context):
    while True:
        yield b"tick"
        await asyncio.sleep(0.5)


async def gives_up(awaitable):
    try:
        await asyncio.wait_for(awaitable, 0.1)
    except TimeoutError:
        return
    raise AssertionError("the server was too fast")


async def iterates(call):
    messages = aiter(call)
    assert await anext(messages) == b"tick"
    await gives_up(anext(messages))
    return [message async for message in messages], await call.code()


async def reads(call):
    assert await call.read() == b"tick"
    await gives_up(call.read())
    try:
        return await call.read(), await call.code()
    except asyncio.CancelledError:
        assert not asyncio.current_task().cancelling()
        return "CancelledError", await call.code()


async def main():
    server = grpc.aio.server()
    methods = {"Ticks": grpc.unary_stream_rpc_method_handler(ticks)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("clock", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = []
    for interceptors in [], [Passes()]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
            for uses in iterates, reads:
                call = channel.unary_stream("/clock/Ticks")(b"")
                found.append(await asyncio.wait_for(uses(call), 30))
                print(len(interceptors), "interceptors,", uses.__name__, *found[-1])
    await server.stop(0)
    code = grpc.StatusCode.CANCELLED
    sys.exit(found != [([], code), ("CancelledError", code), ([], code), (grpc.aio.EOF, code)])


asyncio.run(main())
PYTHON
