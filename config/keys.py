"""Files with keys: who one is, and whose keys are accepted. `sampan keys` makes them.

A line says one thing, keys are 64 hexadecimal digits, and what begins with # is for people:

    own PUBLIC SECRET      a pair of whoever has the file; of several, the first is shown to others
    server PUBLIC          a key that the nodes show to clients
    member NAME PUBLIC     a key that belongs to a member
    client USER PUBLIC     a key that belongs to a user; - for USER: to nobody in particular
    client - *             clients may have any key

In the folder of a node are NAME.key and server.key, each with pairs, and `authorized`, which is the
same on all nodes. A client has one file, with `server` and perhaps `own`.
"""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SERVER = "server"
"""The name of the pair that all nodes show to clients; no member can have it."""
AUTHORIZED = "authorized"
"""The file with everybody's public keys."""
NOBODY = "-"
"""In place of a user."""
ANY = "*"
"""In place of a key."""

_KEY = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_FORMS = {
    "own": "own PUBLIC SECRET",
    "server": "server PUBLIC",
    "member": "member NAME PUBLIC",
    "client": "client USER PUBLIC",
}


class KeyFileError(ValueError):
    """A file with keys that cannot be used, in one sentence: which, why, and what to do."""


class Keys(NamedTuple):
    """What one file says, in its order."""

    own: tuple[tuple[bytes, bytes], ...] = ()
    """(public, secret)."""
    servers: tuple[bytes, ...] = ()
    members: tuple[tuple[str, bytes], ...] = ()
    clients: tuple[tuple[str, bytes], ...] = ()
    """(user, key); the user is empty for nobody in particular."""
    any_client: bool = False


def own_file(folder: Path, name: str) -> Path:
    """Where the pairs of a member, or of `SERVER`, are."""
    return folder / f"{name}.key"


def read(path: Path) -> Keys:
    """What a file says. One with a secret must be its owner's alone, any other must not be
    writable by others. Raises KeyFileError."""
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read()
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path}: is no file with keys: {error}") from error
    keys = parse(text, str(path))
    _check_mode(path, status, has_secret=bool(keys.own))
    return keys


def _check_mode(path: Path, status: os.stat_result, *, has_secret: bool) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise KeyFileError(f"{path}: belongs to another user; run `chown {os.geteuid()} {path}`")
    others = stat.S_IRWXG | stat.S_IRWXO if has_secret else stat.S_IWGRP | stat.S_IWOTH
    if status.st_mode & others:
        can, mode = ("use", "600") if has_secret else ("change", "644")
        raise KeyFileError(f"{path}: others can {can} it; run `chmod {mode} {path}`")


def parse(text: str, where: str) -> Keys:
    """What a file says; raises KeyFileError."""
    found: dict[str, list[list[str]]] = {role: [] for role in _FORMS}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        role, *rest = words
        if role not in _FORMS:
            known = ", ".join(_FORMS)
            raise KeyFileError(f"{where}, line {number}: begins with none of {known}")
        if len(rest) != len(_FORMS[role].split()) - 1 or not _are_keys(role, rest):
            raise KeyFileError(
                f"{where}, line {number}: is not {_FORMS[role]}; a key has 64 hexadecimal digits"
            )
        found[role].append(rest)
    return Keys(
        tuple((bytes.fromhex(public), bytes.fromhex(secret)) for public, secret in found["own"]),
        tuple(bytes.fromhex(key) for (key,) in found["server"]),
        tuple((name, bytes.fromhex(key)) for name, key in found["member"]),
        tuple(
            ("" if user == NOBODY else user, bytes.fromhex(key))
            for user, key in found["client"]
            if key != ANY
        ),
        [NOBODY, ANY] in found["client"],
    )


def _are_keys(role: str, words: list[str]) -> bool:
    if words == [NOBODY, ANY]:
        return role == "client"
    return all(_KEY.fullmatch(word) for word in words[role in ("member", "client") :])


def line(role: str, *words: str | bytes) -> str:
    """One line of a file."""
    return " ".join((role, *(w.hex() if isinstance(w, bytes) else w for w in words))) + "\n"


def write(path: Path, lines: Iterable[str], *, secret: bool) -> None:
    """Write a file anew, whole or not at all. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    mode = 0o600 if secret else 0o644
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
