"""`--user` and `--password`, and passwords that are typed."""

import getpass
from typing import Any


def ask(prompt: str) -> str:
    """What is typed on the terminal, unseen; nothing where there is none."""
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""


def credentials(flags: dict[str, Any]) -> dict[str, str]:
    """The client's options for `--user NAME:PASSWORD`, or `--user NAME` and `--password`; asks for
    a password that is missing."""
    user = flags["user"]
    if not user:
        return {}
    if flags["password"]:
        return {"user": user, "password": flags["password"]}
    name, colon, password = user.partition(":")
    return {"user": name, "password": password if colon else ask("Password: ")}
