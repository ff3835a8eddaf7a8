#!/bin/sh
# grpcio 1.85.3, grpc.aio (Python 3.11): closing a channel lets the tasks that wait for its calls end as
# cancelled, though nobody cancelled them; so does somebody else's impatience with the same call.
#
# Expected: an error of the call, AioRpcError with the code CANCELLED, as the synchronous API raises
# RpcError with it; `except Exception` sees it, and a TaskGroup fails. What comes is CancelledError:
#
#     a writer waits in a TaskGroup for its answer, the channel is closed     grpc.aio        grpc
#         except Exception                                                    sees nothing    CANCELLED
#         the group                                                           ends well       -
#         the task                                                            cancelled()     -
#
#     two tasks await one call; wait_for of the first is over    the second is cancelled, too
#
# So the write that was lost is lost without a word: a TaskGroup takes a cancelled child for one that was
# meant to be. (A call that begins after the close raises UsageError.) What helps is to catch
# CancelledError where `asyncio.current_task().cancelling()` is 0.
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

STARTED, ANSWERS = asyncio.Event(), asyncio.Event()


async def put(_request, _context):
    STARTED.set()
    await ANSWERS.wait()
    return b"done"


async def one_of_a_group(channel):
    seen = []

    async def writes():
        try:
            seen.append(await channel.unary_unary("/kv/Put")(b""))
        except Exception as error:
            seen.append(error)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(writes())
        await STARTED.wait()
        await channel.close()
    return seen, task.cancelled(), task.cancelling()


async def two_of_one_call(channel):
    async def waits(call):
        return await call

    call = channel.unary_unary("/kv/Put")(b"")
    patient = asyncio.create_task(waits(call))
    await STARTED.wait()
    impatient = asyncio.create_task(asyncio.wait_for(waits(call), 0.1))
    await asyncio.wait({patient, impatient})
    return type(impatient.exception()).__name__, patient.cancelled(), patient.cancelling()


def synchronously(channel, started):
    call = channel.unary_unary("/kv/Put").future(b"")
    started()
    channel.close()
    try:
        return call.result(timeout=30)
    except grpc.RpcError as error:
        return error.code()


async def main():
    server = grpc.aio.server()
    methods = {"Put": grpc.unary_unary_rpc_method_handler(put)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("kv", methods),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    found = []
    for happens in one_of_a_group, two_of_one_call:
        STARTED.clear()
        found.append(await asyncio.wait_for(happens(grpc.aio.insecure_channel(target)), 30))
    STARTED.clear()
    started = asyncio.run_coroutine_threadsafe(STARTED.wait(), asyncio.get_running_loop())
    found.append(
        await asyncio.to_thread(synchronously, grpc.insecure_channel(target), started.result)
    )
    await server.stop(0)
    print(*found, sep="\n")
    expected = [([], True, 0), ("TimeoutError", True, 0), grpc.StatusCode.CANCELLED]
    sys.exit(found != expected)


asyncio.run(main())
PYTHON
