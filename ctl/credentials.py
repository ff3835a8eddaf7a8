"""`--curve-keys`, `--user` and `--password`, and passwords that are typed."""

import getpass
from typing import Any


def ask(prompt: str) -> str:
    """What is typed on the terminal, unseen; nothing where there is none."""
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""


def credentials(flags: dict[str, Any]) -> dict[str, str]:
    """The client's options for `--curve-keys FILE`, and for `--user NAME:PASSWORD`, or `--user
    NAME` and `--password`; asks for a password that is missing."""
    keys = {"keys": flags["curve-keys"]} if flags["curve-keys"] else {}
    user = flags["user"]
    if not user:
        return keys
    if flags["password"]:
        return {**keys, "user": user, "password": flags["password"]}
    name, colon, password = user.partition(":")
    return {**keys, "user": name, "password": password if colon else ask("Password: ")}
