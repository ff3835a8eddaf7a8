"""The mechanism CURVE: who is at the other end is proved by keys, and every frame is sealed.

CurveZMQ (rfc.zeromq.org/spec/26), as libzmq 4.3 speaks it. Both ends have a lasting pair of keys
and make another for each connection, so that what was recorded cannot be read when a lasting secret
is lost. The end that connects must know the other's public key; it says HELLO, WELCOME comes back,
it says INITIATE, which proves its own key, and READY ends the handshake. Each frame then travels in
a MESSAGE.

- From the WELCOME to the INITIATE the end that listens holds nothing but the key of a cookie, which
  is another one for each connection: an INITIATE that was recorded opens on no other.
- Numbers that go up are part of every nonce: what is sent again or left out is refused.

This is the only file that knows libsodium (PyNaCl).
"""

from collections.abc import Callable, Sequence
from functools import partial
from secrets import token_bytes
from typing import NamedTuple

from nacl import bindings, exceptions
from nacl._sodium import ffi, lib

from ..config import keys
from .zmtp import (
    KEY_REFUSED,
    SEALED_COMMAND,
    Frame,
    Known,
    MalformedError,
    RefusedError,
    command,
    last_head,
    properties,
)

KEY_BYTES = 32

_VERSION = b"\1\0"
_LONG_NONCE_BYTES = 16
_COOKIE_BYTES = 96
_HELLO_BYTES, _WELCOME_BYTES, _INITIATE_BYTES_MIN, _READY_BYTES_MIN = 194, 160, 248, 24
_HELLO_PROOF = bytes(64)
_MESSAGE = b"\7MESSAGE"
_LAST, _MORE_FOLLOW = b"\0", b"\1"
_HEAD_BYTES = len(_MESSAGE) + 8
_MAC_BYTES = bindings.crypto_secretbox_MACBYTES
_OVERHEAD = _HEAD_BYTES + _MAC_BYTES + 1
_SCRATCH_BYTES = 1024
"""Shorter frames, which most are, go through a buffer of the connection: what PyNaCl's bindings
check and allocate for each costs as much as sealing it."""

Opened = tuple[bytes, dict[bytes, bytes] | None]

_seal, _unseal = bindings.crypto_box_afternm, bindings.crypto_box_open_afternm
_seal_into, _open_into = lib.crypto_box_easy_afternm, lib.crypto_box_open_easy_afternm


class Pair(NamedTuple):
    """A lasting or a passing pair of keys, 32 bytes each."""

    public: bytes
    secret: bytes


def new_pair() -> Pair:
    """One that nobody else has."""
    return Pair(*bindings.crypto_box_keypair())


def public_of(secret: bytes) -> bytes:
    """The public key that belongs to a secret one."""
    return bytes(bindings.crypto_scalarmult_base(secret))


def pairs_of(found: keys.Keys, where: str) -> tuple[Pair, ...]:
    """The pairs in a file; raises KeyFileError when one of them is none."""
    pairs = tuple(Pair(*each) for each in found.own)
    for pair in pairs:
        if public_of(pair.secret) != pair.public:
            shown = pair.public.hex()
            raise keys.KeyFileError(f"{where}: {shown} does not belong to the secret beside it")
    return pairs


def _shared(public: bytes, secret: bytes) -> bytes:
    """What both ends compute of their own secret and the other's public key."""
    try:
        return bindings.crypto_box_beforenm(public, secret)
    except exceptions.CryptoError as error:  # a point of which nothing secret comes
        raise MalformedError("a key that is none") from error


def _open(box: bytes, nonce: bytes, shared: bytes, what: str) -> bytes:
    try:
        return _unseal(box, nonce, shared)
    except exceptions.CryptoError as error:
        raise MalformedError(f"{what} that does not open with this key") from error


class _Curve:
    """What both ends do alike."""

    name, overhead = b"CURVE", _OVERHEAD
    _says, _hears = b"", b""  # prefixes of nonces

    def __init__(self) -> None:
        self.known: Known | None = None
        self._metadata = b""
        self._shared = b""
        self._said = self._heard = 0
        """Numbers of what was sent and received last."""
        # Another for each connection: libsodium is called without the interpreter's lock.
        self._scratch = ffi.new("unsigned char[]", _SCRATCH_BYTES)
        self._made = ffi.buffer(self._scratch)

    def _next(self) -> bytes:
        self._said += 1
        return self._said.to_bytes(8, "big")

    # What follows runs for each frame: one function deep, it costs half of what libsodium does.

    def encode(self, parts: list[bytes], frames: Sequence[bytes]) -> None:
        """See Mechanism. libzmq, too, sends each sealed frame as a message, and no command."""
        last = len(frames) - 1
        assert self._shared, "nothing is sealed before the handshake"
        for place, frame in enumerate(frames):
            self._said = said = self._said + 1
            number = said.to_bytes(8, "big")
            opened = (_MORE_FOLLOW if place < last else _LAST) + frame
            nonce = self._says + number
            size = len(opened) + _MAC_BYTES
            if size <= _SCRATCH_BYTES:
                _seal_into(self._scratch, opened, len(opened), nonce, self._shared)
                box = self._made[:size]
            else:
                box = _seal(opened, nonce, self._shared)
            parts.append(last_head(_HEAD_BYTES + size) + _MESSAGE + number)
            parts.append(box)

    def command(self, content: bytes) -> bytes:
        """See Mechanism."""
        number = self._next()
        box = _seal(bytes((SEALED_COMMAND,)) + content, self._says + number, self._shared)
        return last_head(_HEAD_BYTES + len(box)) + _MESSAGE + number + box

    def open(self, frame: Frame) -> tuple[int, bytes]:
        """See Mechanism."""
        sealed = bytes(frame)
        if len(sealed) < _OVERHEAD or sealed[:8] != _MESSAGE:
            raise MalformedError("a frame that is not sealed")
        number = sealed[8:_HEAD_BYTES]
        heard = int.from_bytes(number, "big")
        if heard <= self._heard:
            raise MalformedError("a frame that was sent before")
        box, nonce = sealed[_HEAD_BYTES:], self._hears + number
        size = len(box)
        if size > _SCRATCH_BYTES:
            opened = _open(box, nonce, self._shared, "a frame")
            self._heard = heard
            return opened[0], opened[1:]
        if _open_into(self._scratch, box, size, nonce, self._shared):
            raise MalformedError("a frame that does not open with this key")
        self._heard = heard
        return self._scratch[0], self._made[1 : size - _MAC_BYTES]


class CurveServer(_Curve):
    """The end that listens."""

    as_server = True
    _says, _hears = b"CurveZMQMESSAGES", b"CurveZMQMESSAGEC"

    def __init__(self, pairs: Sequence[Pair], name_of: Callable[[bytes], str | None]) -> None:
        """`pairs` are its own, each as good as the other; `name_of` tells whose a key is, None for
        one that is refused."""
        super().__init__()
        self._pairs = pairs
        self._name_of = name_of
        self._cookie_key = b""

    def begin(self, metadata: bytes) -> bytes:
        """See Mechanism: it waits for the other."""
        self._metadata = metadata
        return b""

    def take(self, name: bytes, body: bytes) -> Opened:
        """See Mechanism."""
        if name == b"HELLO" and not self._cookie_key:
            return self._welcome(body), None
        if name == b"INITIATE" and self._cookie_key:
            return self._ready(body)
        raise MalformedError(f"the command {name[:20]!r} in a handshake")

    def _welcome(self, body: bytes) -> bytes:
        if len(body) != _HELLO_BYTES or body[:2] != _VERSION:
            raise MalformedError("a HELLO of another version")
        passing, number, box = body[74:106], body[106:114], body[114:]
        shared = self._shared_with(passing, b"CurveZMQHELLO---" + number, box)
        self._cookie_key = token_bytes(KEY_BYTES)
        mine = new_pair()
        cookie_nonce, nonce = token_bytes(_LONG_NONCE_BYTES), token_bytes(_LONG_NONCE_BYTES)
        cookie = bindings.crypto_secretbox(
            passing + mine.secret, b"COOKIE--" + cookie_nonce, self._cookie_key
        )
        told = mine.public + cookie_nonce + cookie
        return command(b"WELCOME", nonce + _seal(told, b"WELCOME-" + nonce, shared))

    def _shared_with(self, passing: bytes, nonce: bytes, box: bytes) -> bytes:
        """With whoever knows one of the own public keys."""
        for pair in self._pairs:
            shared = _shared(passing, pair.secret)
            try:
                if _unseal(box, nonce, shared) == _HELLO_PROOF:
                    return shared
            except exceptions.CryptoError:
                continue  # it may be for another of them
        raise MalformedError("a HELLO for another key")

    def _ready(self, body: bytes) -> Opened:
        if len(body) < _INITIATE_BYTES_MIN:
            raise MalformedError("an INITIATE that is cut off")
        cookie, number, box = body[:_COOKIE_BYTES], body[96:104], body[104:]
        passing, secret = self._take_cookie(cookie)
        self._shared = _shared(passing, secret)
        said = _open(box, b"CurveZMQINITIATE" + number, self._shared, "an INITIATE")
        key, vouch_nonce, vouch, metadata = said[:32], said[32:48], said[48:128], said[128:]
        nonce = b"VOUCH---" + vouch_nonce
        vouched = _open(vouch, nonce, _shared(key, secret), "a vouch")
        if vouched not in [passing + pair.public for pair in self._pairs]:
            raise MalformedError("a vouch for another connection")
        whose = self._name_of(key)
        if whose is None:
            raise RefusedError("its key is not accepted", KEY_REFUSED)
        peer = properties(metadata)
        self.known = Known(key, whose)
        self._heard = int.from_bytes(number, "big")
        number = self._next()
        ready = _seal(self._metadata, b"CurveZMQREADY---" + number, self._shared)
        return command(b"READY", number + ready), peer

    def _take_cookie(self, cookie: bytes) -> tuple[bytes, bytes]:
        """The other's passing key and the own passing secret; once."""
        nonce = b"COOKIE--" + cookie[:_LONG_NONCE_BYTES]
        try:
            opened = bindings.crypto_secretbox_open(
                cookie[_LONG_NONCE_BYTES:], nonce, self._cookie_key
            )
        except exceptions.CryptoError as error:
            raise MalformedError("a cookie of another connection") from error
        return opened[:KEY_BYTES], opened[KEY_BYTES:]


class CurveClient(_Curve):
    """The end that connects."""

    as_server = False
    _says, _hears = b"CurveZMQMESSAGEC", b"CurveZMQMESSAGES"

    def __init__(self, server: bytes, pair: Pair, on_ready: Callable[[], object]) -> None:
        """`server` is the other end's public key, `pair` the own; `on_ready` is told that each is
        what the other end knows."""
        super().__init__()
        self._server = server
        self._pair = pair
        self._on_ready = on_ready
        self._passing = new_pair()

    def begin(self, metadata: bytes) -> bytes:
        """See Mechanism."""
        self._metadata = metadata
        self._shared = _shared(self._server, self._passing.secret)
        number = self._next()
        box = _seal(_HELLO_PROOF, b"CurveZMQHELLO---" + number, self._shared)
        return command(b"HELLO", _VERSION + bytes(72) + self._passing.public + number + box)

    def take(self, name: bytes, body: bytes) -> Opened:
        """See Mechanism."""
        if name == b"WELCOME" and self.known is None:
            return self._initiate(body), None
        if name == b"READY" and self.known is not None:
            return b"", self._ready(body)
        raise MalformedError(f"the command {name[:20]!r} in a handshake")

    def _initiate(self, body: bytes) -> bytes:
        if len(body) != _WELCOME_BYTES:
            raise MalformedError("a WELCOME of another length")
        nonce = b"WELCOME-" + body[:_LONG_NONCE_BYTES]
        told = _open(body[_LONG_NONCE_BYTES:], nonce, self._shared, "a WELCOME")
        theirs, cookie = told[:KEY_BYTES], told[KEY_BYTES:]
        self.known = Known(self._server, "")
        vouch_nonce = token_bytes(_LONG_NONCE_BYTES)
        vouch = _seal(
            self._passing.public + self._server,
            b"VOUCH---" + vouch_nonce,
            _shared(theirs, self._pair.secret),
        )
        self._shared = _shared(theirs, self._passing.secret)
        number = self._next()
        said = self._pair.public + vouch_nonce + vouch + self._metadata
        box = _seal(said, b"CurveZMQINITIATE" + number, self._shared)
        return command(b"INITIATE", cookie + number + box)

    def _ready(self, body: bytes) -> dict[bytes, bytes]:
        if len(body) < _READY_BYTES_MIN:
            raise MalformedError("a READY that is cut off")
        number = body[:8]
        self._heard = int.from_bytes(number, "big")
        nonce = b"CurveZMQREADY---" + number
        peer = properties(_open(body[8:], nonce, self._shared, "a READY"))
        self._on_ready()
        return peer


Choice = tuple[bytes, Pair]
"""The other end's public key, and the own pair."""


class Caller:
    """Makes the mechanism of each attempt to reach one other end. Where the other end, or this one,
    has an old and a new key, each is tried in turn until it has worked."""

    def __init__(self, choices: Callable[[], Sequence[Choice]]) -> None:
        """`choices`: there is at least one, at any time."""
        self._choices = choices
        self._turn = self._failed = 0

    def __call__(self) -> CurveClient:
        choices, turn = self._choices(), self._turn
        self._turn += 1
        self._failed += 1
        return CurveClient(*choices[turn % len(choices)], partial(self._keep, turn))

    def _keep(self, turn: int) -> None:
        self._turn, self._failed = turn, 0

    @property
    def tried_all(self) -> bool:
        """Whether none has worked since each was tried."""
        return self._failed >= len(self._choices())
