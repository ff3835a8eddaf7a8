"""sampanctl's alarm commands, and what alarms change elsewhere, against etcdctl's."""

import os
import re

import pytest
from sampan.client import Client, errors

from ..client.real_node import real_node
from .conftest import run_etcd
from .test_like_etcdctl import etcdctl, normal, parse, sampanctl, shape

FORMATS = ("simple", "fields", "json", "protobuf", "table", "xml")
QUIET_LINES = [
    "alarm",
    "alarm list and more",
    "alarm disarm and more",
    *(f"alarm list -w {form}" for form in FORMATS),
    *(f"alarm disarm -w {form}" for form in FORMATS if form != "fields"),  # etcdctl's panics
    "--command-timeout=200ms --endpoints=127.0.0.1:1 alarm list",
    "--command-timeout=200ms --endpoints=127.0.0.1:1 alarm disarm",
]
FULL_LINES = [
    "put a b",
    "lease grant 60",
    "get fill/0 --keys-only",
    *(f"alarm list -w {form}" for form in FORMATS),
    *(f"endpoint status -w {form}" for form in ("simple", "fields", "json")),
    *(f"endpoint health -w {form}" for form in ("simple", "fields", "json", "table")),
    "\n\nput a b\n\n | txn".replace("\n", "⏎"),
    "del fill/0",
    "alarm disarm",
]


def shown(ran, args):
    """Without what differs from one cluster to the next."""
    if "protobuf" in args:
        return ran[1:]
    ran = normal(ran, args)
    our_member = r"(?<=memberID:)1|(?<=memberID\":)1|(?<=MemberID\" : )1"
    text = re.sub(rf"\d{{6,}}|{our_member}", "N", shape(ran.stdout))
    return text, shape(ran.stderr), ran.exit_code


def compare(etcd, sampan, lines, monkeypatch):
    differences = []
    for text in lines:
        line = parse(text)
        theirs = shown(etcdctl(etcd, line), line.args)
        ours = shown(sampanctl(sampan, line, monkeypatch), line.args)
        if ours != theirs:
            differences.append(f"{text}\n  etcdctl:   {theirs}\n  sampanctl: {ours}")
    assert not differences, "\n".join(differences)


def test_without_alarms(etcd, sampan, monkeypatch):
    compare(etcd, sampan, QUIET_LINES, monkeypatch)


@pytest.fixture
def full_etcd(tmp_path):
    """The endpoint of an etcd that is full."""
    with run_etcd(tmp_path / "etcd", "--quota-backend-bytes", "1000000") as endpoint:
        value = "v" * 200_000
        ran = None
        while ran is None or ran.exit_code == 0:
            ran = etcdctl(endpoint, parse("put fill/0")._replace(stdin=value.encode()))
        yield endpoint


@pytest.fixture
def full_sampan(tmp_path):
    """The endpoint of a Sampan node that is full."""
    with real_node(tmp_path, quota_bytes=1_000_000) as endpoint, Client([endpoint]) as client:
        with pytest.raises(errors.NoSpaceError):
            fill(client)
        yield endpoint


def fill(client):
    while True:
        client.put("fill/0", os.urandom(100_000))


def test_a_full_node(full_etcd, full_sampan, monkeypatch):
    compare(full_etcd, full_sampan, FULL_LINES, monkeypatch)
