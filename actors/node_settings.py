"""What the node is told."""

from typing import TYPE_CHECKING, NamedTuple

from ..config import limits
from .client_limits import Rates

if TYPE_CHECKING:
    from ..security.jwt_tokens import JwtTokens


class NodeSettings(NamedTuple):
    """What the node needs to know of the configuration."""

    cluster_id: int
    member_id: int
    name: str
    client_advertise: tuple[str, ...]
    incarnation: int
    request_timeout_s: float
    version: str
    id_seed: int
    """Below 2^31, random: no earlier life of this node began its ids here; entries outlive it in
    the log."""
    lease_ttl_min_s: int = 2
    rates: Rates = Rates()
    client_watches_max: int = 0
    watch_progress_s: float = limits.WATCH_PROGRESS_S
    election_s: float = 1.0
    strict_reconfig_check: bool = True
    bcrypt_cost: int = 10
    auth_token_ttl_s: float = 300.0
    own_token: str = ""
    jwt: "JwtTokens | None" = None
