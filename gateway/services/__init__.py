"""All gRPC services of the gateway."""

from ..backend import Backend
from ..grpc import Method
from .auth import Auth
from .cluster import Cluster
from .concurrency import Concurrency
from .health import Health
from .kv import Kv
from .lease import Lease
from .maintenance import Maintenance
from .range_stream import range_stream
from .watch import WatchService


def methods(backend: Backend) -> list[Method]:
    """Every method that is there; the server answers for those that are not."""
    services = (
        Kv(backend),
        WatchService(backend),
        Lease(backend),
        Cluster(backend),
        Maintenance(backend),
        Auth(backend),
        Concurrency(backend),
        Health(),
    )
    found = [method for service in services for method in service.methods()]
    return [*found, range_stream(backend)]
