"""Those who mean no good, at a node's door: noise, halves, and what is nearly right.

Everything comes from a seed. Nothing here is known to harm any software: it is drawn by chance.
"""

import json
import random
import socket
import ssl
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from sampan.transport.codec import pack
from sampan.transport.curve import CurveClient, Pair, new_pair, public_of
from sampan.transport.zmtp import UNBOUNDED, Engine, Null, command

CONNECT_S = 10.0
HELD_MAX = 40
"""Connections that one attacker leaves open and silent."""
BURST = 64
"""Frames that are sent in one go."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client of HTTP/2 says first."""
NAMES = (
    b"READY",
    b"HELLO",
    b"INITIATE",
    b"WELCOME",
    b"MESSAGE",
    b"ERROR",
    b"PING",
    b"PONG",
    b"",
    b"X",
)


class Attacker:
    """One process's worth of them. `sent` counts frames, handshakes and halves."""

    def __init__(self, address, seed, *, server=b"", pair=None, recorded=b""):
        """Where there are keys, `server` is the door's; `pair` is one that it accepts, and
        `recorded` what somebody said to it before."""
        host, port = address.split(":")
        self._at = (host, int(port))
        self._rng = random.Random(seed)
        self._server, self._pair, self._recorded = server, pair, recorded
        self._held = []
        self.sent = 0
        ways = [self._noise, self._half, self._commands, self._sizes, self._frames]
        if server:
            ways += [self._hello, self._replay, self._stranger]
        self._ways = ways

    def run(self, count):
        """Go on until so much was sent."""
        while self.sent < count:
            with suppress(OSError):
                connection = socket.create_connection(self._at, CONNECT_S)
                connection.settimeout(CONNECT_S)
                try:
                    self._rng.choice(self._ways)(connection)
                finally:
                    self._leave(connection)
        for connection in self._held:
            connection.close()

    def _leave(self, connection):
        if self._rng.random() < 0.2:
            self._held.append(connection)
            if len(self._held) > HELD_MAX:
                self._held.pop(0).close()
        else:
            connection.close()

    def _say(self, connection, data, count=1):
        connection.sendall(data)
        self.sent += count

    def _bytes(self, most):
        return self._rng.randbytes(self._rng.randint(0, most))

    def _greeting(self):
        mechanism = CurveClient(self._server, new_pair(), bool) if self._server else Null()
        return Engine(b"DEALER", UNBOUNDED, mechanism).greeting

    # -- ways

    def _noise(self, connection):
        self._say(connection, self._bytes(4096))

    def _half(self, connection):
        greeting = self._greeting()
        self._say(connection, greeting[: self._rng.randint(0, len(greeting))])

    def _commands(self, connection):
        said = [command(self._rng.choice(NAMES), self._bytes(300)) for _ in range(BURST)]
        self._say(connection, self._greeting() + b"".join(said), BURST)

    def _sizes(self, connection):
        head = struct.pack(">BQ", self._rng.choice((2, 3, 6)), self._rng.getrandbits(64))
        self._say(connection, self._greeting() + head + self._bytes(1000))

    def _hello(self, connection):
        self._say(
            connection, self._greeting() + command(b"HELLO", b"\1\0" + self._rng.randbytes(192))
        )

    def _replay(self, connection):
        self._say(connection, self._recorded)

    def _stranger(self, connection):
        """A whole handshake, with a key that nobody knows."""
        self._shake(connection, CurveClient(self._server, new_pair(), bool))
        self.sent += 1

    def _shake(self, connection, mechanism):
        engine = Engine(b"DEALER", UNBOUNDED, mechanism)
        connection.sendall(engine.greeting)
        while not engine.ready and engine.error is None:
            data = connection.recv(4096)
            if not data:
                break
            engine.receive(data)
            connection.sendall(b"".join(engine.taken_answers()))
        return engine

    def _frames(self, connection):
        """Who may come in, and then says what means nothing, in frames that are right, and at last
        in some that are not."""
        if self._server and self._pair is None:
            return
        mechanism = CurveClient(self._server, self._pair, bool) if self._server else Null()
        engine = self._shake(connection, mechanism)
        if not engine.ready:
            return
        for _ in range(self._rng.randint(1, 20)):
            parts = []
            for _ in range(BURST // 2):
                engine.encode(parts, self._message())
            self._say(connection, b"".join(parts), BURST)
        whole = bytearray(b"".join(parts))
        for _ in range(3):
            whole[self._rng.randrange(len(whole))] ^= 1 << self._rng.randrange(8)
        self._say(connection, bytes(whole[: self._rng.randint(1, len(whole))]))

    def _message(self):
        kind = self._rng.random()
        if kind < 0.3:
            return [self._bytes(300) for _ in range(2)]
        fields = [self._rng.choice((0, 1, 2, 2**64 - 1, "write", "ask", b"", -1)) for _ in range(9)]
        return [pack(fields), self._bytes(200) if kind < 0.7 else pack([fields])]


class WebAttacker(Attacker):
    """Those at a door that speaks HTTP/1.1 and HTTP/2, by TLS when `server` says anything."""

    def __init__(self, address, seed, *, server=b""):
        super().__init__(address, seed)
        self._tls = None
        self._ways = [self._noise, self._half, self._headers, self._frames, self._continued]
        if server:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
            self._ways += [self._hello, self._record, self._noise_within]

    def _speak(self, connection):
        return self._tls.wrap_socket(connection) if self._tls else connection

    def _noise_within(self, connection):
        self._say(self._speak(connection), self._bytes(4096))

    def _half(self, connection):
        request = b"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
        self._say(self._speak(connection), request[: self._rng.randint(0, len(request))])

    def _headers(self, connection):
        """A head without an end."""
        connection = self._speak(connection)
        self._say(connection, b"GET / HTTP/1.1\r\n")
        for _ in range(10):
            lines = (b"x-%d: %s\r\n" % (n, bytes(50).hex().encode()) for n in range(BURST))
            self._say(connection, b"".join(lines), BURST)

    def _frames(self, connection):
        said = [PREFACE, *(self._frame(self._rng.randint(0, 12)) for _ in range(BURST))]
        self._say(self._speak(connection), b"".join(said), BURST)

    def _continued(self, connection):
        """Headers without an end, in HTTP/2."""
        connection = self._speak(connection)
        self._say(connection, PREFACE + web_frame(1, 0, 1, self._bytes(100)))
        for _ in range(10):
            more = (web_frame(9, 0, 1, self._bytes(1000)) for _ in range(BURST))
            self._say(connection, b"".join(more), BURST)

    def _frame(self, kind):
        stream = self._rng.choice((0, 1, 2, 3, 2**31 - 1))
        return web_frame(kind, self._rng.getrandbits(8), stream, self._bytes(200))

    def _hello(self, connection):
        told = ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            self._tls.wrap_bio(ssl.MemoryBIO(), told).do_handshake()
        hello = told.read()
        self._say(connection, hello[: self._rng.randint(1, len(hello))])

    def _record(self, connection):
        """A record of TLS in which there is anything."""
        kind = self._rng.choice((20, 21, 22, 23))
        said = self._bytes(500)
        self._say(connection, struct.pack(">BHH", kind, 0x0301, len(said)) + said)


def web_frame(kind, flags, stream, body):
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


class Siege:
    """Attackers at one door, until each has sent `count`, in processes of their own. Those who are
    `modest` take no time from the node that it wants, as if they were on other machines. Those
    without an address take as much time as others would, and do nothing."""

    def __init__(self, address, count=0, *, modest=False, kind=Attacker, attackers=2, **known):
        told = {name: value.hex() for name, value in known.items()}
        command = ["nice", "-n", "19", sys.executable, __file__]
        self._children = [
            subprocess.Popen(
                [*command, json.dumps([address, seed, count, modest, kind.__name__, told])],
                stdout=subprocess.PIPE, text=True, start_new_session=True,
            )
            for seed in range(attackers)
        ]  # fmt: skip
        self.sent = 0

    @property
    def done(self):
        return all(child.poll() is not None for child in self._children)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self._children:
            if child.poll() is None:
                child.kill()
            with child:
                self.sent += int(child.stdout.read() or 0)


def give_way():
    """To everybody. Linux divides time among sessions first: a nice value counts in one of them."""
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


def main():
    address, seed, count, modest, kind, told = json.loads(sys.argv[1])
    if modest:
        give_way()
    while address is None:
        pass
    known = {name: bytes.fromhex(value) for name, value in told.items()}
    if secret := known.pop("secret", None):
        known["pair"] = Pair(public_of(secret), secret)
    attacker = globals()[kind](address, seed, **known)
    attacker.run(count)
    print(attacker.sent)


if __name__ == "__main__":
    main()
