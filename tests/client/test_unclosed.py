"""Clients that nobody closed, and those that a child process inherited."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import weakref

import pytest
from sampan.client import AsyncClient, Client

from .scenario import LONG_S


def python(script):
    """Run a program, and fail when it hangs or warns of something that is not closed."""
    warn = ["-X", "dev", "-W", "ignore:unclosed client:ResourceWarning"]
    command = [sys.executable, *warn, "-c", textwrap.dedent(script)]
    subprocess.run(command, check=True, timeout=180)


def test_a_loop_that_ends_before_its_client_is_closed_ends(node):
    python(f"""
        import asyncio

        async def main():
            client = AsyncClient(["{node.endpoint}"])
            await client.put("a", "b")
            watch = client.watch("a")
            await watch.__aenter__()
            cycle = [client, watch]
            cycle.append(cycle)

        from sampan.client import AsyncClient
        for _ in range(5):
            asyncio.run(main())
            junk = [[] for _ in range(200_000)]
        """)


def test_a_client_of_tasks_that_is_forgotten_is_closed_and_warned_of(node):
    async def main():
        held = [AsyncClient([node.endpoint])]
        await held[0].put("k", "v")
        dispatcher = held[0]._dispatcher
        with pytest.warns(ResourceWarning, match="unclosed client"):
            held.clear()
        await asyncio.sleep(0)
        assert dispatcher.refusal is not None
        assert all(link._outgoing is None for link in dispatcher.links)

    asyncio.run(main())


def test_a_client_of_threads_that_is_forgotten_is_closed_and_warned_of(node):
    held = [Client([node.endpoint])]
    held[0].put("k", "v")
    loop, dispatcher = held[0]._loop, held[0]._dispatcher
    with pytest.warns(ResourceWarning, match="unclosed client"):
        held.clear()
    loop.join()
    assert all(link._outgoing is None for link in dispatcher.links)
    assert loop._wakeup_read.fileno() == -1


def test_a_client_is_not_forgotten_while_there_is_a_watch_of_it(node):
    watch = Client([node.endpoint]).watch("k", timeout_s=LONG_S)
    client = weakref.ref(watch._client)
    gc.collect()
    with watch:
        assert client() is not None
    watch._client.close()


@pytest.mark.parametrize("how", ["closed", "never made", "never used"])
def test_no_warning(node, how):
    if how == "closed":
        client = Client([node.endpoint])
        client.close()
    elif how == "never made":
        with pytest.raises(ValueError, match="endpoint"):
            Client([])
    else:
        client = AsyncClient([node.endpoint])
    client = None
    gc.collect()


def test_a_child_process_does_not_wait_for_locks_of_the_parents_threads(node):
    node.behave = lambda header, requests: (
        [[0, 1, 7, 60]] if requests[0][0].startswith("lease_") else None
    )
    python(f"""
        import os
        from sampan.client import Client, errors

        with Client(["{node.endpoint}"]) as client, client.watch("k") as watch:
            lease = client.lease(60)
            with watch._changed, lease._changed:
                child = os.fork()
                if child == 0:
                    watch.cancel()
                    for call in (lease.revoke, lease.wait_lost, watch.__next__):
                        try:
                            call()
                        except errors.ClientClosedError as error:
                            assert "fork" in str(error)
                    client.close()
                    os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            client.put("k", "v")
        """)
