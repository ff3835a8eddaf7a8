#!/bin/sh
# pyzmq 27.3.0 (libzmq 4.3.5, Linux): a ROUTER that hands over throws away what has come from the old peer.
#
# ROUTER_HANDOVER is what one sets so that a client with a name of its own may come back while the router
# still takes its old connection for alive. A DEALER named "me" sends old0 to old4, which arrive; later
# another DEALER of the same name connects and sends new0 to new2; only then the router reads:
#
#     ROUTER_HANDOVER, the old peer   what the router reads         sent later, after all was read
#     1, closed before                old0 to old4, new0 to new2    comes
#     1, still there                  new0 to new2                  comes
#     0, still there                  old0 to old4                  does not come
#     0, closed before                old0 to old4                  does not come
#
# Expected: all eight in the second line, as in the first. The five had been received: they would have
# been read had the router been a little faster, or the client a little slower. Of a request that a
# client has sent before it lost its connection nobody learns, and the fuller the server, the more.
#
# Without the option a new peer whose name is taken stays mute for ever, as is told in old issues, also
# where the old one has gone for good and merely not all of its messages were read.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyzmq==27.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import zmq

assert zmq.zmq_version() == "4.3.5"
WAIT_S = 1
ctx = zmq.Context()


def dealer(port):
    socket = ctx.socket(zmq.DEALER)
    socket.routing_id = b"me"
    socket.connect(f"tcp://127.0.0.1:{port}")
    return socket


def send(socket, *messages):
    for each in messages:
        socket.send(each)
    time.sleep(WAIT_S)  # until they have come


def read(router):
    found = set()
    while router.poll(1000 * WAIT_S):
        found.add(router.recv_multipart()[1])
    return found


def met(handover, closed):
    router = ctx.socket(zmq.ROUTER)
    router.router_handover = handover
    port = router.bind_to_random_port("tcp://127.0.0.1")
    first = dealer(port)
    send(first, *OLD)
    if closed:
        first.close()
        time.sleep(WAIT_S)
    second = dealer(port)
    send(second, *NEW)
    found = read(router)
    send(second, b"later")
    came = bool(read(router))
    for socket in (first, second, router):
        socket.close(linger=0)
    return found, came


OLD, NEW = {b"old%d" % i for i in range(5)}, {b"new%d" % i for i in range(3)}
found = [met(*each) for each in ((1, True), (1, False), (0, False), (0, True))]
for names, came in found:
    print(b" ".join(sorted(names)).decode(), "| later:", came)
ctx.term()
sys.exit(found != [(OLD | NEW, True), (NEW, True), (OLD, False), (OLD, False)])
PYTHON
