"""Whether a node is well: etcd's `/health`, `/livez` and `/readyz` (api/etcdhttp/health.go).

A liveness probe that restarts a member asks `/livez`, which needs no other member; `/readyz` says
whether clients are served.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from ..client import AsyncClient, SampanError
from ..client.alarm_calls import AlarmMember

Query = Mapping[str, list[str]]

CHECK_TIMEOUT_S = 5.0
READ_KEY = b"health"
_TEXT = "text/plain; charset=utf-8"


class Verdict(NamedTuple):
    """An answer's status, content type and body."""

    status: int
    content_type: str
    body: str


async def _status(client: AsyncClient) -> Mapping[str, Any]:
    return (await client.status(timeout_s=CHECK_TIMEOUT_S)).fields


def _alarms(status: Mapping[str, Any]) -> list[str]:
    """The names of the alarms that this member knows of, leader or not."""
    return [AlarmMember(*alarm).name for alarm in status.get("alarms", ())]


async def _read(client: AsyncClient, *, serializable: bool) -> None:
    await client.get(
        READ_KEY, keys_only=True, limit=1, serializable=serializable, timeout_s=CHECK_TIMEOUT_S
    )


async def _linearizable_read(client: AsyncClient) -> str:
    await _read(client, serializable=False)
    return ""


async def _serializable_read(client: AsyncClient) -> str:
    await _read(client, serializable=True)
    return ""


async def _data_corruption(client: AsyncClient) -> str:
    return "alarm activated: CORRUPT" if "CORRUPT" in _alarms(await _status(client)) else ""


async def _non_learner(client: AsyncClient) -> str:
    return "local member is learner" if (await _status(client)).get("is_learner") else ""


Check = Callable[[AsyncClient], Awaitable[str]]
"""What is wrong, empty when nothing is."""

LIVEZ: Mapping[str, Check] = {"serializable_read": _serializable_read}
READYZ: Mapping[str, Check] = {
    "data_corruption": _data_corruption,
    "serializable_read": _serializable_read,
    "linearizable_read": _linearizable_read,
    "non_learner": _non_learner,
}


async def checked(client: AsyncClient, checks: Mapping[str, Check], query: Query) -> Verdict:
    """Run checks but those that the query excludes; the answer of `/livez` and `/readyz`."""
    excluded = set(query.get("exclude", []))
    lines, well = [], True
    for name, check in checks.items():
        if name in excluded:
            continue
        wrong = await _outcome(client, check)
        well = well and not wrong
        lines.append(f"[-]{name} failed: {wrong}\n" if wrong else f"[+]{name} ok\n")
    if not well:
        return Verdict(503, _TEXT, "".join(lines))
    return Verdict(200, _TEXT, ("".join(lines) if "verbose" in query else "") + "ok\n")


async def _outcome(client: AsyncClient, check: Check) -> str:
    try:
        return await check(client)
    except SampanError as error:
        return error.text


async def health(client: AsyncClient, query: Query) -> Verdict:
    """`/health`: alarms, a leader, a read; `?exclude=NOSPACE`, `?serializable=true`."""
    serializable = query.get("serializable", [""])[0] == "true"
    try:
        reason = await _reason(client, set(query.get("exclude", [])), serializable=serializable)
    except SampanError as error:
        reason = f"RANGE ERROR:{error.text}"
    body = json.dumps({"health": "false" if reason else "true", "reason": reason})
    return Verdict(503 if reason else 200, _TEXT, body.replace(", ", ",").replace(": ", ":", 2))


async def _reason(client: AsyncClient, excluded: set[str], *, serializable: bool) -> str:
    status = await _status(client)
    for name in _alarms(status):
        if name not in excluded:
            return f"ALARM {name}"
    if not serializable and not status.get("leader"):
        return "RAFT NO LEADER"
    await _read(client, serializable=serializable)
    return ""
