"""The live page: one document put together of the files in `static/`, nothing from elsewhere."""

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("static")
_STYLE = "style.css"
_SCRIPTS = ("tools.js", "members.js", "actors.js", "writes.js", "elections.js", "lab.js", "main.js")
"""In the order in which they use each other."""


def _read(*names: str) -> str:
    return "".join(_FOLDER.joinpath(name).read_text(encoding="utf-8") for name in names)


@cache
def text(token: str = "") -> str:
    """The document; `token` lets it use the lab, without one there is none."""
    document = _read("page.html").replace("{{style}}", _read(_STYLE))
    return document.replace("{{script}}", _read(*_SCRIPTS)).replace("{{token}}", token)


@cache
def policy() -> str:
    """What the page may load and run: itself, and its own node's answers."""
    style, script = (
        b64encode(hashlib.sha256(part.encode()).digest()).decode()
        for part in (_read(_STYLE), _read(*_SCRIPTS))
    )
    return (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
        f"style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
