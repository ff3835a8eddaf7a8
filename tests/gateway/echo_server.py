"""A gateway with services that only answer, for programs that speak HTTP to it.

python echo_server.py LOOP [CERTIFICATE KEY [AUTHORITIES]]: on asyncio's loop, or uvloop's; it
prints its port.
"""

import asyncio
import importlib
import sys

from sampan.config.certificates import CertificateFiles
from sampan.gateway.grpc import Streaming, Unary
from sampan.gateway.wire.certificates import Certificates
from sampan.gateway.wire.server import Gateway


class Echo:
    """Answers each message with itself."""

    def __init__(self, call):
        self.call = call

    def message(self, data):
        self.call.send(data)
        if not self.call.writable:
            self.call.pause()

    def on_writable(self):
        self.call.resume()

    def end(self):
        self.call.finish()

    def cancelled(self):
        pass


class Silent(Echo):
    """Takes everything, says nothing."""

    def message(self, data):
        pass


def echo(call, data):
    call.reply(data)


def sized(call, data):
    """As many bytes as the message says."""
    call.reply(bytes(int(data)))


def later(call, data):
    """In another turn of the loop."""
    asyncio.get_running_loop().call_later(0.01, call.reply, data)


def fail(call, data):
    call.finish(9, data.decode())


def metadata(call, data):
    call.reply(call.metadata.get(data.decode(), "").encode())


def user(call, data):
    call.reply(call.user.encode())


METHODS = [
    Unary("/test.Echo/User", user),
    Unary("/test.Echo/Unary", echo),
    Unary("/etcdserverpb.KV/Put", lambda call, _: call.reply(b"\x0a\x00")),
    Unary("/test.Echo/Sized", sized),
    Unary("/test.Echo/Later", later),
    Unary("/test.Echo/Fail", fail),
    Unary("/test.Echo/Metadata", metadata),
    Unary("/test.Echo/Never", lambda _call, _data: None),
    Streaming("/test.Echo/Stream", Echo),
    Streaming("/test.Echo/Silent", Silent),
]


def app(request, response):
    """Says what it got; `/lines` as a stream, `/sized` as many bytes as the query says, `/host` by
    which name it was asked."""
    if request.path == "/lines":
        response.start(200, [("content-type", "text/plain")])
        for i in range(3):
            response.write(b"line %d\n" % i)
        response.end()
    elif request.path == "/sized":
        response.send(200, (), bytes(int(request.query)))
    elif request.path == "/host":
        response.send(200, (), request.headers["host"].encode())
    elif request.path == "/fault":
        raise ValueError("as the test wants")
    elif request.path != "/never":
        text = f"{request.method} {request.path} {request.query} {len(request.body)}"
        response.send(200, [("content-type", "text/plain")], text.encode())


class Log:
    def exception(self, event, **values):
        print(event, values, file=sys.stderr, flush=True)

    info = warning = error = exception


async def main(*files):
    certificates = Certificates(CertificateFiles(*files), Log()) if files else None
    gateway = Gateway(METHODS, app, Log())
    print(await gateway.listen("127.0.0.1", 0, certificates, names_users=True), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=importlib.import_module(sys.argv[1]).new_event_loop) as runner:
        runner.run(main(*sys.argv[2:]))
