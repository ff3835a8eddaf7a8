"""One field of a head over HTTP/2, checked once (RFC 9113, sections 8.2 and 8.3)."""

import re

Field = tuple[str, str, str | None]
"""Name, value (latin-1, as HTTP has them), and what is the matter with it: None for nothing,
`PSEUDO` for a field of HTTP/2 itself, else why the head is malformed."""

PSEUDO = ""

PSEUDO_NAMES = frozenset((":method", ":scheme", ":path", ":authority"))

CONNECTION_NAMES = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
)
"""Fields of an HTTP/1.1 connection. Whoever passes them on could be made to split requests."""

NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
BAD_VALUE = re.compile(r"[\x00\r\n]")


def field(name: str, value: str) -> Field:
    """A field with what is the matter with it. Tables keep it, so that it is asked once."""
    if name in PSEUDO_NAMES:
        fault: str | None = PSEUDO
    elif name[:1] == ":":
        fault = "an unknown pseudo field"
    elif name in CONNECTION_NAMES:
        fault = f"{name} belongs to HTTP/1.1"
    elif not NAME.fullmatch(name):
        fault = "a name with characters that are not allowed"
    elif name == "te" and value != "trailers":
        fault = "te is not trailers"
    else:
        fault = None
    if not value.isprintable() and BAD_VALUE.search(value):
        fault = f"a line break in {name}"
    return name, value, fault
