"""Services without a wire: a real node behind them, and calls whose ends a test looks at."""

import asyncio
from collections.abc import Callable

from sampan.gateway.backend import Backend
from sampan.gateway.grpc import Unary
from sampan.gateway.services import methods

WAIT_S = 180.0


class FakeCall:
    """A call as `gateway/grpc.py` describes it."""

    def __init__(self, **metadata):
        self.metadata = metadata
        self.peer = "127.0.0.1:1"
        self.user = ""
        self.deadline = None
        self.on_cancelled = None
        self.writable = True
        self.sent = asyncio.Queue()
        self.status = asyncio.get_running_loop().create_future()

    def send(self, message):
        self.sent.put_nowait(message)

    def reply(self, message):
        self.send(message)
        self.finish()

    def finish(self, code=0, text=""):
        assert not self.status.done(), "a call has one end"
        self.status.set_result((int(code), text))

    def pause(self):
        raise AssertionError("nothing here pauses")

    resume = pause


class Failed(Exception):
    """`args` are the status of a call that did not go well."""


class Services:
    """All services, before one node, in a loop of their own."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self._runner = asyncio.Runner()
        self.backend = self.run(self._connect(endpoint))
        self.methods = {method.path: method for method in methods(self.backend)}

    async def _connect(self, endpoint):
        return Backend(asyncio.get_running_loop(), endpoint, 7.0)

    def run(self, coroutine):
        return self._runner.run(asyncio.wait_for(coroutine, WAIT_S))

    def close(self):
        async def close():
            self.backend.close()

        self.run(close())
        self._runner.close()

    async def call(self, path, request, response: Callable):
        """The answer of a unary method; raises Failed."""
        method = self.methods[path]
        assert isinstance(method, Unary)
        call = FakeCall()
        method.handler(call, request.SerializeToString())
        status = await call.status
        if status != (0, ""):
            raise Failed(*status)
        return response.FromString(call.sent.get_nowait())

    def ask(self, path, request, response):
        return self.run(self.call(path, request, response))

    def open(self, path, **metadata):
        """(call, stream) of a streaming method; inside a coroutine."""
        call = FakeCall(**metadata)
        return call, self.methods[path].open(call)
