"""The ids of members that have none in their file."""

from dataclasses import replace

from . import addresses
from .model import Member


def with_id(member: Member, cluster_id: int) -> Member:
    """The member with its id in a new cluster: as configured, or made of its peer address."""
    if member.id:
        return member
    peer = addresses.plain(member.peer)
    return replace(member, id=addresses.member_id([peer], cluster_id))
