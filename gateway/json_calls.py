"""The JSON gateway: a request in JSON becomes a gRPC call of the same services."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import messages as pb
from .grpc import Code, Method, Stream, Unary
from .http import HttpRequest, HttpResponse
from .json_messages import JsonError, from_json, read_all, to_json

Headers = tuple[tuple[str, str], ...]
CORS: Headers = (
    ("Access-Control-Allow-Headers", "accept, content-type, authorization"),
    ("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("Access-Control-Allow-Origin", "*"),
)
JSON: Headers = (*CORS, ("Content-Type", "application/json"))
ANSWER: Headers = (*JSON, ("Grpc-Metadata-Content-Type", "application/grpc"))
METADATA_PREFIX = "grpc-metadata-"
HTTP_STATUS = {
    Code.CANCELLED: 408,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
"""As grpc-gateway has them; 500 for the others."""
REASONS = {400: "Bad Request", 404: "Not Found", 500: "Internal Server Error",
           503: "Service Unavailable"}  # fmt: skip

_AUTH, _CLUSTER, _KV = "etcdserverpb.Auth/", "etcdserverpb.Cluster/", "etcdserverpb.KV/"
_LEASE, _MAINTENANCE = "etcdserverpb.Lease/", "etcdserverpb.Maintenance/"
_LOCK, _ELECTION = "v3lockpb.Lock/", "v3electionpb.Election/"
ROUTES = {
    "auth/authenticate": (_AUTH + "Authenticate", "Authenticate"),
    "auth/disable": (_AUTH + "AuthDisable", "AuthDisable"),
    "auth/enable": (_AUTH + "AuthEnable", "AuthEnable"),
    "auth/role/add": (_AUTH + "RoleAdd", "AuthRoleAdd"),
    "auth/role/delete": (_AUTH + "RoleDelete", "AuthRoleDelete"),
    "auth/role/get": (_AUTH + "RoleGet", "AuthRoleGet"),
    "auth/role/grant": (_AUTH + "RoleGrantPermission", "AuthRoleGrantPermission"),
    "auth/role/list": (_AUTH + "RoleList", "AuthRoleList"),
    "auth/role/revoke": (_AUTH + "RoleRevokePermission", "AuthRoleRevokePermission"),
    "auth/status": (_AUTH + "AuthStatus", "AuthStatus"),
    "auth/user/add": (_AUTH + "UserAdd", "AuthUserAdd"),
    "auth/user/changepw": (_AUTH + "UserChangePassword", "AuthUserChangePassword"),
    "auth/user/delete": (_AUTH + "UserDelete", "AuthUserDelete"),
    "auth/user/get": (_AUTH + "UserGet", "AuthUserGet"),
    "auth/user/grant": (_AUTH + "UserGrantRole", "AuthUserGrantRole"),
    "auth/user/list": (_AUTH + "UserList", "AuthUserList"),
    "auth/user/revoke": (_AUTH + "UserRevokeRole", "AuthUserRevokeRole"),
    "cluster/member/add": (_CLUSTER + "MemberAdd", "MemberAdd"),
    "cluster/member/list": (_CLUSTER + "MemberList", "MemberList"),
    "cluster/member/promote": (_CLUSTER + "MemberPromote", "MemberPromote"),
    "cluster/member/remove": (_CLUSTER + "MemberRemove", "MemberRemove"),
    "cluster/member/update": (_CLUSTER + "MemberUpdate", "MemberUpdate"),
    "election/campaign": (_ELECTION + "Campaign", "Campaign"),
    "election/leader": (_ELECTION + "Leader", "Leader"),
    "election/observe": (_ELECTION + "Observe", "Leader"),
    "election/proclaim": (_ELECTION + "Proclaim", "Proclaim"),
    "election/resign": (_ELECTION + "Resign", "Resign"),
    "kv/compaction": (_KV + "Compact", "Compaction"),
    "kv/deleterange": (_KV + "DeleteRange", "DeleteRange"),
    "kv/lease/leases": (_LEASE + "LeaseLeases", "LeaseLeases"),
    "kv/lease/revoke": (_LEASE + "LeaseRevoke", "LeaseRevoke"),
    "kv/lease/timetolive": (_LEASE + "LeaseTimeToLive", "LeaseTimeToLive"),
    "kv/put": (_KV + "Put", "Put"),
    "kv/range": (_KV + "Range", "Range"),
    "kv/txn": (_KV + "Txn", "Txn"),
    "lease/grant": (_LEASE + "LeaseGrant", "LeaseGrant"),
    "lease/keepalive": (_LEASE + "LeaseKeepAlive", "LeaseKeepAlive"),
    "lease/leases": (_LEASE + "LeaseLeases", "LeaseLeases"),
    "lease/revoke": (_LEASE + "LeaseRevoke", "LeaseRevoke"),
    "lease/timetolive": (_LEASE + "LeaseTimeToLive", "LeaseTimeToLive"),
    "lock/lock": (_LOCK + "Lock", "Lock"),
    "lock/unlock": (_LOCK + "Unlock", "Unlock"),
    "maintenance/alarm": (_MAINTENANCE + "Alarm", "Alarm"),
    "maintenance/defragment": (_MAINTENANCE + "Defragment", "Defragment"),
    "maintenance/downgrade": (_MAINTENANCE + "Downgrade", "Downgrade"),
    "maintenance/hash": (_MAINTENANCE + "Hash", "Hash"),
    "maintenance/hashkv": (_MAINTENANCE + "HashKV", "HashKV"),
    "maintenance/snapshot": (_MAINTENANCE + "Snapshot", "Snapshot"),
    "maintenance/status": (_MAINTENANCE + "Status", "Status"),
    "maintenance/transfer-leadership": (_MAINTENANCE + "MoveLeader", "MoveLeader"),
    "watch": ("etcdserverpb.Watch/Watch", "Watch"),
}
"""What follows /v3/: the method, and what its messages' names begin with."""


class JsonGateway:
    """Answers POST requests below /v3/."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._methods = {method.path: method for method in methods}

    def call(self, route: str, request: HttpRequest, response: HttpResponse) -> None:
        """Call the method of a route of ROUTES."""
        path, name = ROUTES[route]
        call = JsonCall(request, response, getattr(pb, f"{name}Response"))
        method = self._methods.get(f"/{path}")
        parse = getattr(pb, f"{name}Request")
        if method is None:
            service, _, missing = path.partition("/")
            text = f"unknown method {missing} for service {service}"
            call.finish(Code.UNIMPLEMENTED, text)
        elif isinstance(method, Unary):
            _call_unary(method, parse, call, request.body)
        else:
            _call_stream(method.open, parse, call, request.body)


def _encoded(values: Any, message: Any) -> bytes:
    from_json(values, message)
    encoded: bytes = message.SerializeToString()
    return encoded


def _call_unary(method: Unary, parse: Callable[[], Any], call: "JsonCall", body: bytes) -> None:
    try:
        encoded = _encoded(next(read_all(body), {}), parse())
    except JsonError as error:
        call.finish(Code.INVALID_ARGUMENT, str(error))
    else:
        method.handler(call, encoded)


def _call_stream(
    opened: Callable[[Any], Stream], parse: Callable[[], Any], call: "JsonCall", body: bytes
) -> None:
    stream = opened(call)
    call.on_cancelled, call.on_writable = stream.cancelled, stream.on_writable
    try:
        for values in read_all(body):
            stream.message(_encoded(values, parse()))
    except JsonError as error:
        stream.cancelled()
        call.finish(Code.UNKNOWN, str(error))
    else:
        stream.end()


class JsonCall:
    """A gRPC call whose messages are JSON's: one is the whole answer, several are a line each."""

    def __init__(
        self, request: HttpRequest, response: HttpResponse, parse: Callable[[], Any]
    ) -> None:
        self.metadata: Mapping[str, str] = _metadata(request.headers)
        self.peer = request.peer
        self.user = ""  # etcd's JSON gateway knows nobody by a certificate either
        self.deadline: float | None = None
        self.on_cancelled: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self._response = response
        self._parse = parse
        self._started = False
        self._ended = False
        response.on_gone = self._gone
        response.on_writable = self._writable

    @property
    def writable(self) -> bool:
        """Whether the client reads."""
        return self._response.writable

    def _gone(self) -> None:
        if self.on_cancelled is not None and not self._ended:
            self._ended = True
            self.on_cancelled()

    def _writable(self) -> None:
        if self.on_writable is not None:
            self.on_writable()

    def _json(self, message: bytes) -> dict[str, Any]:
        parsed: Any = self._parse()
        parsed.ParseFromString(message)
        return to_json(parsed)

    def send(self, message: bytes) -> None:
        """One message of a stream, a line."""
        self._line({"result": self._json(message)})

    def _line(self, values: Mapping[str, Any]) -> None:
        if not self._started:
            self._started = True
            self._response.start(200, ANSWER)
        self._response.write(dumps(values) + b"\n")

    def reply(self, message: bytes) -> None:
        """The whole answer."""
        self._ended = True
        self._response.send(200, ANSWER, dumps(self._json(message)))

    def finish(self, code: int = 0, text: str = "") -> None:
        """The end, or an error."""
        self._ended = True
        status = HTTP_STATUS.get(Code(code), 500)
        if self._started:
            if code:
                error = {"grpc_code": int(code), "http_code": status, "message": text}
                self._line({"error": error | {"http_status": REASONS.get(status, "Error")}})
            self._response.end()
        elif code:
            error = {"error": text, "code": int(code), "message": text}
            self._response.send(status, JSON, dumps(error))
        else:
            self._response.send(200, ANSWER, b"")

    def pause(self) -> None:
        """All its messages came at once."""

    def resume(self) -> None:
        """Likewise."""


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    found = {
        name.removeprefix(METADATA_PREFIX): value
        for name, value in headers.items()
        if name.startswith(METADATA_PREFIX)
    }
    if "authorization" in headers:
        found["authorization"] = headers["authorization"]
    return found


def dumps(values: Mapping[str, Any]) -> bytes:
    """Compact, as Go writes it."""
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
