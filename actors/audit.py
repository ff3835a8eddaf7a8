"""The audit log: who asked for what, from where, for which keys, and what came of it.

A line for each message of a client, when it is answered. It never has values, passwords or tokens
in it: what is told of a request stands in `_TOLD`, and of what is not there only the name.

A call of an etcd's client comes from the gateway; where that client is, the gateway tells once in
lines of its own, by the same user or token (gateway/backend.py).

`metadata` tells the requests and their keys, `request` the rest of them as well.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ..config import limits
from ..security import passwords
from ..security.rules import ITSELF
from ..transport.auth import names_user
from ..transport.codec import CodecError, result_codes, unpack_local
from ..transport.requests import is_u64
from .asked import Asked

KEY_LETTERS_MAX, NAME_LETTERS_MAX = 256, 32
QUIET = frozenset(("ack", "progress"))
"""What watches say for themselves, all the time."""


class Auditor:
    """Tells of the messages of one node's clients."""

    def __init__(self, level: str, own_token: str, write: Callable[..., None]) -> None:
        """`write` takes the fields of a line."""
        self._whole = level == "request"
        self._own_token = own_token
        self._write = write
        self._hosts: dict[bytes, str] = {}
        self._taken: dict[tuple[bytes, int], dict[str, Any]] = {}

    def came(self, client: bytes, host: str) -> None:
        """A connection stands."""
        self._hosts[client] = host

    def gone(self, client: bytes) -> None:
        """It has ended; what it waits for may be done yet."""
        for key in [each for each in self._taken if each[0] == client]:
            self._write(**self._taken.pop(key), outcome="the client left before its answer")
        self._hosts.pop(client, None)

    def taken(self, asked: Asked, decoded: tuple[Any, ...]) -> None:
        """It is known who asks, and for what."""
        itself = asked.who is not None and asked.who.user == ITSELF
        names = {each[0] for each in decoded if type(each) is tuple and each}
        if asked.peer is not None or itself or (names and names <= QUIET):
            return
        told: list[dict[str, Any]] = []
        keys = 0
        for each in decoded:
            if keys >= limits.AUDIT_KEYS_MAX:
                break
            told.append(self._told(each))
            keys += len(told[-1].get("keys", "k")) + len(told[-1].get("compares", ""))
        line = self._who(asked) | {"requests": told}
        if len(decoded) > len(told):
            line["more"] = len(decoded) - len(told)
        self._taken[asked.client, asked.message_id] = line

    def answered(self, asked: Asked, body: bytes) -> None:
        """The message is answered, or was refused before anything in it was looked at."""
        line = self._taken.pop((asked.client, asked.message_id), None)
        outcome, codes = outcome_of(body)
        if line is None:
            if asked.client in self._hosts and outcome != "ok":
                self._write(**self._who(asked), outcome=outcome)
            return
        for told, code in zip(line["requests"], codes, strict=False):
            told["code"] = code
        self._write(**line, outcome=outcome)

    def _who(self, asked: Asked) -> dict[str, Any]:
        who = {"user": asked.who.user} if asked.who is not None else {}
        if asked.token and not names_user(asked.token, self._own_token):
            who["token"] = passwords.fingerprint(asked.token)
        return {"kind": asked.kind, "from": self._hosts.get(asked.client, ""), **who}

    def _told(self, request: Any) -> dict[str, Any]:
        if type(request) is not tuple or not request or not _is_name(request[0]):
            return {"request": "no request"}
        told: dict[str, Any] = {"request": request[0]}
        try:
            if request[0] in _TOLD:
                told |= _TOLD[request[0]](*request[1:])
            if self._whole and request[0] in _REST:
                told |= _REST[request[0]](*request[1:])
        except (TypeError, ValueError, IndexError, AttributeError):
            told["request"] += ", malformed"  # it is refused
        return told


def _is_name(value: Any) -> bool:
    return type(value) is str and len(value) <= NAME_LETTERS_MAX and value.isidentifier()


def outcome_of(body: bytes) -> tuple[str, list[int]]:
    """(what came of a message, a code for each of its requests) by its packed answer."""
    try:
        codes = result_codes(body)
        if codes is None:
            code, text, *_ = unpack_local(body)
            return f"{code} {text}", []
    except (CodecError, TypeError, ValueError):
        return "unknown", []
    refused = sum(map(bool, codes))
    return ("ok" if not refused else f"{refused} of {len(codes)} refused"), codes


def shown(key: bytes) -> str:
    """A key as text."""
    return key.decode(errors="backslashreplace")[:KEY_LETTERS_MAX]


# -- what is told of requests (transport/requests.py has their shapes)


def _one(key: bytes, *_: Any) -> dict[str, Any]:
    return {"key": shown(key)}


def _range(key: bytes, range_end: bytes = b"", *_: Any) -> dict[str, Any]:
    return {"key": shown(key)} | ({"range_end": shown(range_end)} if range_end else {})


def _txn(*parts: Any) -> dict[str, Any]:
    keys = list(dict.fromkeys(_keys(*parts)))
    told: dict[str, Any] = {"keys": keys[: limits.AUDIT_KEYS_MAX]}
    return told | (
        {"more_keys": len(keys) - len(told["keys"])} if keys[len(told["keys"]) :] else {}
    )


def _keys(compares: Any, success: Any, failure: Any) -> Iterator[str]:
    """What a transaction compares, reads and writes, at any depth."""
    yield from (_span(compare[2], *compare[4:]) for compare in compares)
    for each in (*success, *failure):
        if each[0] == "txn":
            yield from _keys(*each[1:])
        else:
            yield _span(each[1], *(each[2:3] if each[0] != "put" else ()))


def _span(key: bytes, range_end: bytes = b"") -> str:
    return f"{shown(key)} to {shown(range_end)}" if range_end else shown(key)


def _lease(lease: int, *_: Any) -> dict[str, Any]:
    return {"lease": lease} if is_u64(lease) else {}


def _name(name: str, *_: Any) -> dict[str, Any]:
    return {"name": name[:KEY_LETTERS_MAX]}


def _role_of_user(user: str, role: str) -> dict[str, Any]:
    return {"name": user[:KEY_LETTERS_MAX], "role": role[:KEY_LETTERS_MAX]}


def _permission(role: str, kind: int, key: bytes, end: bytes = b"") -> dict[str, Any]:
    return _name(role) | {"permission": ("read", "write", "readwrite")[kind]} | _range(key, end)


_TOLD: dict[str, Callable[..., dict[str, Any]]] = {
    "put": _one, "delete": _range, "range": _range, "create": _range, "txn": _txn,
    "lease_grant": _lease, "lease_revoke": _lease, "lease_keep_alive": _lease,
    "lease_time_to_live": _lease, "authenticate": _name, "user_add": _name, "user_delete": _name,
    "user_change_password": _name, "user_get": _name, "user_grant_role": _role_of_user,
    "user_revoke_role": _role_of_user, "role_add": _name, "role_delete": _name, "role_get": _name,
    "role_grant_permission": _permission,
    "role_revoke_permission": lambda role, key, end=b"": _name(role) | _range(key, end),
    "compact": lambda revision, *_: {"revision": int(revision)},
}  # fmt: skip
"""At every level."""


def _put(_key: bytes, value: bytes = b"", lease: int = 0, flags: int = 0) -> dict[str, Any]:
    return {"value_bytes": len(value), "lease": int(lease), "flags": int(flags)}


def _numbers(_key: bytes, _end: bytes = b"", *numbers: Any) -> dict[str, Any]:
    return {"options": [each for each in numbers if type(each) is int]}


def _operations(compares: Any, success: Any, failure: Any) -> dict[str, Any]:
    return {
        "compares": [[shown(each[2]), *map(int, each[:2])] for each in compares],
        "success": [each[0] for each in success],
        "failure": [each[0] for each in failure],
    }


_REST: dict[str, Callable[..., dict[str, Any]]] = {
    "put": _put, "delete": _numbers, "range": _numbers, "create": _numbers, "txn": _operations,
    "lease_grant": lambda _lease, ttl=0, *_: {"ttl_s": int(ttl)},
}  # fmt: skip
"""At the level `request`."""
