"""`sampan keys`: make, show and change the files with keys (config/keys.py, docs/security.md)."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..config import keys, streams
from ..config.keys import KeyFileError
from ..transport.auth import NAME_BYTES_MAX
from ..transport.curve import new_pair

SECRET_NOTE = "# Secret: only its owner may have this file.\n"
AUTHORIZED_NOTE = "# Whose keys the nodes accept. The same on all of them, and no secret.\n"
_FILES = "the folder with the keys of a cluster, its keys_dir"


def parser() -> argparse.ArgumentParser:
    """Of `sampan keys`."""
    made = argparse.ArgumentParser(
        prog="sampan keys",
        allow_abbrev=False,
        description="Make, show and change the keys by which members and clients know each other.",
        epilog="Nodes read their folder again when they get SIGHUP. `sampan docs security` is the "
        "guide.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    new = commands.add_parser("new", help="make what members need that have no keys yet")
    new.add_argument("dir", type=Path, metavar="DIR", help=_FILES)
    new.add_argument("names", nargs="+", metavar="NAME", help="a member's name")
    client = commands.add_parser("client", help="make the file of a client, and let it in")
    client.add_argument("dir", type=Path, metavar="DIR", help=_FILES)
    client.add_argument("file", type=Path, metavar="FILE", help="the client's, to be made")
    who = client.add_mutually_exclusive_group()
    who.add_argument("--user", default=keys.NOBODY, help="who it is where users are asked")
    who.add_argument(
        "--any", action="store_true",
        help="let in any key, for clients with a name and a password; the file is for all of them",
    )  # fmt: skip
    for name, text in (
        ("rotate", "make a new pair beside the one that there is"),
        ("retire", "drop all pairs but the newest"),
    ):
        change = commands.add_parser(name, help=text)
        change.add_argument("dir", type=Path, metavar="DIR", help=_FILES)
        change.add_argument("name", metavar="NAME", help=f"a member, or {keys.SERVER}")
    show = commands.add_parser("show", help="print what is public in a file or a folder")
    show.add_argument("path", type=Path, metavar="PATH", help="a file, or the folder")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        lines = _COMMANDS[arguments.command](arguments)
        print("".join(lines), end="", flush=True)
    except KeyFileError as error:
        print(f"sampan keys: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        streams.give_up(sys.stdout)
        where = f"{error.filename}: " if error.filename else ""
        print(f"sampan keys: {where}{error.strerror}", file=sys.stderr)
        return 1
    return 0


def _new(arguments: argparse.Namespace) -> list[str]:
    folder: Path = arguments.dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authorized = _authorized(folder)
    told = []
    for name in (keys.SERVER, *arguments.names):
        path = keys.own_file(folder, name)
        if "/" in name or name.split() != [name]:
            raise KeyFileError(f"{name!r} is no name of a member")
        is_new = not path.exists()
        if is_new:
            keys.write(path, [SECRET_NOTE, keys.line("own", *new_pair())], secret=True)
        lines = [_public_line(name, public) for public, _ in keys.read(path).own]
        authorized += [each for each in lines if each not in authorized]
        told.append(f"{path}: {'made' if is_new else 'is there already'}\n")
    _write_authorized(folder, authorized)
    told.append(
        f"{folder / keys.AUTHORIZED}: for all members, with {keys.SERVER}.key and their own\n"
    )
    return told


def _client(arguments: argparse.Namespace) -> list[str]:
    folder, path, user = arguments.dir, arguments.file, arguments.user
    if user.split() != [user] or len(user.encode()) > NAME_BYTES_MAX:
        raise KeyFileError(f"{user!r} cannot be a user here: it has blanks, or is too long")
    if path.exists():
        raise KeyFileError(f"{path}: is there already; move it away, or name another")
    authorized = _authorized(folder)
    servers = keys.parse("".join(authorized), str(folder / keys.AUTHORIZED)).servers
    if not servers:
        raise KeyFileError(f"{folder}: has no keys of members; `sampan keys new` makes some first")
    lines = [keys.line("server", key) for key in servers]
    if arguments.any:
        added = keys.line("client", keys.NOBODY, keys.ANY)
    else:
        pair = new_pair()
        lines = [SECRET_NOTE, *lines, keys.line("own", *pair)]
        added = keys.line("client", user, pair.public)
    keys.write(path, lines, secret=not arguments.any)
    if added not in authorized:
        _write_authorized(folder, [*authorized, added])
    return [f"{path}: made\n", f"{folder / keys.AUTHORIZED}: has changed; copy it to all members\n"]


def _rotate(arguments: argparse.Namespace) -> list[str]:
    folder, name = arguments.dir, arguments.name
    path = keys.own_file(folder, name)
    found = keys.read(path)
    pair = new_pair()
    lines = [keys.line("own", *each) for each in (pair, *found.own)]
    # First what others are to accept, so that the key is nowhere used before.
    _write_authorized(folder, [*_authorized(folder), _public_line(name, pair.public)])
    keys.write(path, [SECRET_NOTE, *lines], secret=True)
    return [
        f"{folder / keys.AUTHORIZED}: has the new key; copy it to all members first\n",
        f"{path}: shows the new key, and both are good\n",
    ]


def _retire(arguments: argparse.Namespace) -> list[str]:
    folder, name = arguments.dir, arguments.name
    path = keys.own_file(folder, name)
    newest, *others = keys.read(path).own or [(b"", b"")]
    if not others:
        raise KeyFileError(f"{path}: has no older pair; `sampan keys rotate` makes a new one")
    gone = {_public_line(name, public).strip() for public, _ in others}
    left = [each for each in _authorized(folder) if " ".join(each.split()) not in gone]
    keys.write(path, [SECRET_NOTE, keys.line("own", *newest)], secret=True)
    _write_authorized(folder, left)
    return [f"{path}: has its newest pair alone\n",
            f"{folder / keys.AUTHORIZED}: accepts no other; copy it to all members\n"]  # fmt: skip


def _show(arguments: argparse.Namespace) -> list[str]:
    path: Path = arguments.path
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    shown = []
    for file in files:
        found = keys.read(file)
        shown += [f"{file}:\n", *(f"  {line}" for line in _public_lines(found))]
    return shown


def _public_lines(found: keys.Keys) -> Iterable[str]:
    for public, _ in found.own:
        yield keys.line("own", public)
    for key in found.servers:
        yield keys.line("server", key)
    for name, key in found.members:
        yield keys.line("member", name, key)
    for user, key in found.clients:
        yield keys.line("client", user or keys.NOBODY, key)
    if found.any_client:
        yield keys.line("client", keys.NOBODY, keys.ANY)


def _public_line(name: str, public: bytes) -> str:
    if name == keys.SERVER:
        return keys.line("server", public)
    return keys.line("member", name, public)


def _authorized(folder: Path) -> list[str]:
    """The lines of the file as they are, with what people wrote there."""
    path = folder / keys.AUTHORIZED
    if not path.exists():
        return [AUTHORIZED_NOTE]
    keys.read(path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line if line.endswith("\n") else line + "\n" for line in lines]


def _write_authorized(folder: Path, lines: list[str]) -> None:
    keys.write(folder / keys.AUTHORIZED, lines, secret=False)


_COMMANDS = {
    "new": _new, "client": _client, "rotate": _rotate, "retire": _retire, "show": _show,
}  # fmt: skip
