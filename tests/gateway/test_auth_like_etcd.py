"""Users, roles and what they may do: etcd's own clients meet the same here and at a real etcd."""

import pytest

from ..ctl.conftest import run_etcd
from ..ctl.test_auth_like_etcdctl import SCRIPT, shown
from ..ctl.test_like_etcdctl import etcdctl, normal, parse
from .test_process import Node


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(an etcd, a Sampan's gateway), empty."""
    directory = tmp_path_factory.mktemp("both")
    with run_etcd(directory / "etcd", "--bcrypt-cost", "4") as etcd:
        node = Node(directory, bcrypt_cost=4)
        yield etcd, node
        node.stop()


def differences(etcd, node, lines):
    found = []
    for text in lines:
        line = parse(text)
        theirs, ours = (shown(normal(etcdctl(at, line), line.args)) for at in (etcd, node.gateway))
        if theirs != ours:
            found.append(f"{text}\n  etcd: {theirs}\n  here: {ours}")
    return "\n".join(found)


def test_as_at_an_etcd(both):
    etcd, node = both
    assert not differences(etcd, node, SCRIPT)
