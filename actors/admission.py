"""Which requests of a client's message may go further."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..config import addresses, limits
from ..transport import errors, requests
from ..transport.errors import WireError
from .asked import Asked

_TOO_MANY_REFUSED = f"more than {limits.REFUSED_MAX} requests of this message are not valid"


def sift(
    asked: Asked, decoded: Any, checks: dict[str, requests.Check], counts: Counter[str]
) -> Sequence[Any] | WireError:
    """The good requests of a message, `decoded` itself when all are plain puts; the others stand in
    `asked.refused` then. An error when there are too many of those. `counts` counts the good ones.

    What is bad here is so in itself, at any time: a message that comes again after it was applied
    must not be told now that it was not.
    """
    if len(asked.body) <= limits.REQUEST_BYTES_MAX and requests.all_plain_puts(decoded, checks):
        counts["put"] += len(decoded)
        found: Sequence[Any] = decoded
        return found
    good = []
    large = 0
    for position, request in enumerate(decoded):
        error = requests.check_request(request, checks)
        if error is None and requests.size(request) > limits.REQUEST_BYTES_MAX:
            error = errors.REQUEST_TOO_LARGE
        if error is None and checks is requests.WRITE_CHECKS:
            large += requests.answers_much(request)
            if large > limits.LARGE_ANSWERS_MAX:
                error = errors.TOO_MANY_REQUESTS
        if error is None:
            good.append(request)
            counts[request[0]] += 1
        else:
            asked.refused[position] = error
            if len(asked.refused) > limits.REFUSED_MAX:
                return errors.malformed(_TOO_MANY_REFUSED)
    return good


def complete(good: list[Any], ttl_min_s: int, new_id: Callable[[], int], cluster_id: int) -> bool:
    """Fill in what members must not choose differently; whether there was anything."""

    def new_member_id(peers: tuple[str, ...]) -> int:
        return addresses.member_id(peers, cluster_id, new_id())

    found = [i for i, r in enumerate(good) if r[0] in ("lease_grant", "member_change")]
    for i in found:
        if good[i][0] == "lease_grant":
            good[i] = requests.complete_lease_grant(good[i], new_id, ttl_min_s)
        else:
            good[i] = requests.complete_member_change(good[i], new_member_id)
    return bool(found)
