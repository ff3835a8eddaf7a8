"""`auth`, `user` and `role`: who may do what."""

import os
from binascii import b2a_base64
from typing import TYPE_CHECKING, Any

from ..client import errors
from ..client.auth_calls import PERMISSIONS, READ, WRITE, Permission
from ..client.ops import FROM_KEY, Bounds, key_range
from . import gofmt
from .commands import Run, bad_arguments
from .credentials import ask
from .flags import bool_flag, string_flag
from .printers import FieldsPrinter, JsonPrinter, SimplePrinter, _json_header

if TYPE_CHECKING:
    from ..client.sync import Client

ROOT = "root"
NO_ROOT_ROLE = "etcdserver: root user does not have root role"
_KINDS = ("READ", "WRITE", "READWRITE")

INTERACTIVE = bool_flag("interactive", "ask for the password on the terminal", default=True)
USER_ADD_FLAGS = (
    INTERACTIVE,
    string_flag("new-user-password", "the password"),
    bool_flag("no-password", "a user who cannot log in by a password"),
)
USER_GET_FLAGS = (bool_flag("detail", "show what the user's roles allow"),)
RANGE_FLAGS = (
    bool_flag("prefix", "every key that begins with the key"),
    bool_flag("from-key", "every key at or after the key, in byte order"),
)


def _arguments(run: Run, count: int, text: str) -> None:
    if len(run.args) != count:
        bad_arguments(text)


def _client(run: Run) -> "Client":
    """The client, once the output is known to have a form."""
    run.printer()
    return run.client()


def _say(run: Run, response: Any, text: str, **found: Any) -> None:
    """Tell of a change, or what was found."""
    printer = run.printer()
    if isinstance(printer, SimplePrinter):
        run.stdout.write(os.fsencode(text))
    elif isinstance(printer, JsonPrinter):
        shown = {name: value for name, value in found.items() if value}
        printer._json({"header": _json_header(response.header)} | shown)
    elif isinstance(printer, FieldsPrinter) and not found:
        printer._header(response.header)
    else:
        printer._none()


# ---- auth ---------------------------------------------------------------------------------------


def enable(run: Run) -> None:
    """`auth enable`: gives the user root the role root first, when only that is missing."""
    _arguments(run, 0, "auth enable command does not accept any arguments")
    with _client(run) as client:
        try:
            client.auth_enable()
        except errors.AuthError as error:
            if error.text != NO_ROOT_ROLE:
                raise
            _make_root(client)
            client.auth_enable()
    run.stdout.write(b"Authentication Enabled\n")


def _make_root(client: "Client") -> None:
    client.role_add(ROOT)
    client.user_grant_role(ROOT, ROOT)


def disable(run: Run) -> None:
    """`auth disable`."""
    _arguments(run, 0, "auth disable command does not accept any arguments")
    with _client(run) as client:
        client.auth_disable()
    run.stdout.write(b"Authentication Disabled\n")


def status(run: Run) -> None:
    """`auth status`."""
    _arguments(run, 0, "auth status command does not accept any arguments")
    with _client(run) as client:
        response = client.auth_status()
    enabled, revision = str(response.enabled).lower(), response.auth_revision
    text = f"Authentication Status: {enabled}\nAuthRevision: {revision}\n"
    _say(run, response, text, enabled=response.enabled, authRevision=revision)


# ---- user ---------------------------------------------------------------------------------------


def user_add(run: Run) -> None:
    """`user add <name or name:password>`."""
    _arguments(run, 1, "user add command requires user name as its argument")
    name, password = run.args[0], None
    if not run.flags["no-password"]:
        password = run.flags["new-user-password"]
        if not password:
            name, colon, password = name.partition(":")
            if colon and not name:
                bad_arguments("empty user name is not allowed")
            if not colon:
                password = _new_password(run, name)
    with _client(run) as client:
        response = client.user_add(name, password)
    _say(run, response, f"User {name} created\n")


def _new_password(run: Run, name: str) -> str:
    if not run.flags["interactive"]:
        words = run.stdin.readline().split()
        return os.fsdecode(words[0]) if words else ""
    password = ask(f"Password of {name}: ")
    if not password:
        bad_arguments("empty password")
    if ask(f"Type password of {name} again for confirmation: ") != password:
        bad_arguments("given passwords are different")
    return password


def user_delete(run: Run) -> None:
    """`user delete <name>`."""
    _arguments(run, 1, "user delete command requires user name as its argument")
    with _client(run) as client:
        response = client.user_delete(run.args[0])
    _say(run, response, f"User {run.args[0]} deleted\n")


def user_get(run: Run) -> None:
    """`user get <name>`."""
    _arguments(run, 1, "user get command requires user name as its argument")
    name = run.args[0]
    with _client(run) as client:
        response = client.user_get(name)
        if run.flags["detail"]:
            run.stdout.write(os.fsencode(f"User: {name}\n"))
            for role in response.names:
                run.stdout.write(b"\n")
                _show_role(run, role, client.role_get(role))
            return
    roles = "".join(f" {role}" for role in response.names)
    _say(run, response, f"User: {name}\nRoles:{roles}\n", roles=response.names)


def user_list(run: Run) -> None:
    """`user list`."""
    _arguments(run, 0, "user list command requires no arguments")
    with _client(run) as client:
        response = client.user_list()
    _say(run, response, "".join(f"{name}\n" for name in response.names), users=response.names)


def user_passwd(run: Run) -> None:
    """`user passwd <name>`."""
    _arguments(run, 1, "user passwd command requires user name as its argument")
    password = _new_password(run, run.args[0])
    with _client(run) as client:
        response = client.user_change_password(run.args[0], password)
    _say(run, response, "Password updated\n")


def user_grant_role(run: Run) -> None:
    """`user grant-role <user> <role>`."""
    _arguments(run, 2, "user grant command requires user name and role name as its argument")
    user, role = run.args
    with _client(run) as client:
        response = client.user_grant_role(user, role)
    _say(run, response, f"Role {role} is granted to user {user}\n")


def user_revoke_role(run: Run) -> None:
    """`user revoke-role <user> <role>`."""
    _arguments(run, 2, "user revoke-role requires user name and role name as its argument")
    user, role = run.args
    with _client(run) as client:
        response = client.user_revoke_role(user, role)
    _say(run, response, f"Role {role} is revoked from user {user}\n")


# ---- role ---------------------------------------------------------------------------------------


def role_add(run: Run) -> None:
    """`role add <name>`."""
    _arguments(run, 1, "role add command requires role name as its argument")
    with _client(run) as client:
        response = client.role_add(run.args[0])
    _say(run, response, f"Role {run.args[0]} created\n")


def role_delete(run: Run) -> None:
    """`role delete <name>`."""
    _arguments(run, 1, "role delete command requires role name as its argument")
    with _client(run) as client:
        response = client.role_delete(run.args[0])
    _say(run, response, f"Role {run.args[0]} deleted\n")


def role_list(run: Run) -> None:
    """`role list`."""
    _arguments(run, 0, "role list command requires no arguments")
    with _client(run) as client:
        response = client.role_list()
    _say(run, response, "".join(f"{name}\n" for name in response.names), roles=response.names)


def role_get(run: Run) -> None:
    """`role get <name>`."""
    _arguments(run, 1, "role get command requires role name as its argument")
    with _client(run) as client:
        response = client.role_get(run.args[0])
    _show_role(run, run.args[0], response)


def _show_role(run: Run, role: str, response: Any) -> None:
    printer = run.printer()
    if isinstance(printer, SimplePrinter):
        run.stdout.write(os.fsencode(f"Role {role}\n"))
        for title, other in (("KV Read:", WRITE), ("KV Write:", READ)):
            run.stdout.write(os.fsencode(f"{title}\n"))
            for each in response.permissions:
                if each.kind != other:
                    run.stdout.write(b"\t" + _range_text(each) + b"\n")
    elif isinstance(printer, FieldsPrinter):
        printer._header(response.header)
        for each in response.permissions:
            printer.line(f'"PermType" :  {_KINDS[each.kind]}')
            printer.line(f'"Key" : {gofmt.quote(each.key)}')
            printer.line(f'"RangeEnd" : {gofmt.quote(each.range_end)}')
    elif isinstance(printer, JsonPrinter):
        found = [_json_permission(each) for each in response.permissions]
        perm = {"perm": found} if found else {}
        printer._json({"header": _json_header(response.header)} | perm)
    else:
        printer._none()


def _range_text(permission: Permission) -> bytes:
    key, end = permission.key, permission.range_end
    if not end:
        return key
    text = b"[" + key + b", " + (b"<open ended>" if end == FROM_KEY else end + b")")
    if key and key_range(key, {"prefix": True}) == (key, end):
        text += b" (prefix " + key + b")"
    return text


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _json_permission(permission: Permission) -> dict[str, Any]:
    found: dict[str, Any] = {"permType": permission.kind} if permission.kind else {}
    found["key"] = _base64(permission.key)
    if permission.range_end:
        found["range_end"] = _base64(permission.range_end)
    return found


def role_grant_permission(run: Run) -> None:
    """`role grant-permission <role> <permission> <key> [end]`."""
    if len(run.args) < 3:
        bad_arguments(
            "role grant command requires role name, permission type, and key [endkey] as its "
            "argument"
        )
    role, permission, *rest = run.args
    if permission.lower() not in PERMISSIONS:
        bad_arguments(f"invalid permission type: {permission}")
    key, bounds = _permission_range(run, rest)
    with _client(run) as client:
        response = client.role_grant_permission(role, permission.lower(), key, **bounds)
    _say(run, response, f"Role {role} updated\n")


def role_revoke_permission(run: Run) -> None:
    """`role revoke-permission <role> <key> [end]`."""
    if len(run.args) < 2:
        bad_arguments(
            "role revoke-permission command requires role name and key [endkey] as its argument"
        )
    role, *rest = run.args
    key, bounds = _permission_range(run, rest)
    with _client(run) as client:
        response = client.role_revoke_permission(role, key, **bounds)
    end = os.fsdecode(bounds["range_end"] or b"")
    what = f"key {rest[0]}"
    if end == "\x00":
        what = f"range [{rest[0]}, <open ended>"
    elif end:
        what = f"range [{rest[0]}, {end})"
    _say(run, response, f"Permission of {what} is revoked from role {role}\n")


def _permission_range(run: Run, rest: list[str]) -> tuple[bytes, Bounds]:
    """(key, its range), with etcdctl's checks."""
    prefix, from_key = run.flags["prefix"], run.flags["from-key"]
    key, more = os.fsencode(rest[0]), rest[1:]
    if prefix and from_key and (not more or not key):
        bad_arguments("--from-key and --prefix flags are mutually exclusive")
    if not key:
        return b"\x00", {"range_end": FROM_KEY if prefix or from_key else b""}
    if not more:
        end = key_range(key, {"prefix": True})[1] if prefix else FROM_KEY if from_key else b""
        return key, {"range_end": end}
    for name in ("prefix", "from-key"):
        if run.flags[name]:
            bad_arguments(f"unexpected endkey argument with --{name} flag")
    return key, {"range_end": os.fsencode(more[0])}
