"""sampanctl's member commands and move-leader against etcdctl's."""

import json
import re
import time

from ..client.real_node import real_node
from .conftest import run_etcd
from .test_like_etcdctl import etcdctl, parse, sampanctl

REFUSED = [
    "member add",
    "member add b",
    "member add b c http://x:1",
    "member remove",
    "member remove zz",
    "member remove 11111111111111111",
    "member remove 77",
    "member update 77",
    "member update 77 --peer-urls=http://127.0.0.1:9",
    "member promote 77",
    "member promote",
    "move-leader",
    "move-leader zz",
    "move-leader 77",
    "--endpoints= move-leader 77",
]
LEARNERS = [
    "member add b --peer-urls=http://127.0.0.1:4000 --learner -w {form}",
    "member add c --peer-urls=http://127.0.0.1:4000,http://127.0.0.1:4001 -w {form}",
    "member add c --peer-urls=http://127.0.0.1:4001 --learner -w {form}",
    "member promote ID -w {form}",
    "member update ID --peer-urls=http://127.0.0.1:5000 -w {form}",
    "member list -w {form}",
    "member remove ID -w {form}",
    "member remove ID -w {form}",
    "move-leader ME -w {form}",
]
ANSWER_S = 60
FORMATS = ("simple", "fields", "json", "table", "xml")


def ids(run, endpoint):
    """Of the member that there was, and of the one that was added. etcd does not answer at once
    when its members have just changed."""
    give_up = time.monotonic() + ANSWER_S
    while True:
        ran = run(endpoint, parse("member list"))
        rows = [row.split(", ") for row in ran.stdout.decode().splitlines()]
        found = {row[1]: row[0] for row in rows}
        if "started" in found:
            return found["started"], found.get("unstarted", "77")
        assert time.monotonic() < give_up, ran


def shown(run, endpoint, line):
    me, added = ids(run, endpoint)
    ran = run(endpoint, parse(line.replace("ID", added).replace("ME", me)))
    while line.startswith("member add") and b"member not found" in ran.stderr:
        # etcd 3.5.1 answers so now and then, soon after a member was removed, and adds none.
        ran = run(endpoint, parse(line))
    text = ran.stdout.decode().replace("http://", "")
    text = re.sub(r"127\.0\.0\.1:(?!4000|4001|5000)\d+", "HOST:PORT", text)
    text = re.sub(r'"(cluster_id|member_id|raft_term|ID)":\d+', r'"\1":N', text)
    text = re.sub(r" *\b[0-9a-f]{12,16}\b| {3,}1\b|(?<=from )1\b|(?<=to )1\b", " ID", text)
    text = re.sub(" +", " ", text)
    if text.startswith("{") and "members" in text:
        found = json.loads(text.replace(":N", ":0"))
        found["members"].sort(key=lambda member: member.get("name", ""))
        if line.startswith("member update"):  # etcd 3.5.1 forgets here that it is a learner
            found["members"][0].pop("isLearner", None)
        text = json.dumps(found)
    if "not in sync" in ran.stderr.decode() or line.startswith("member list"):
        text = ""  # compared elsewhere
    if line.startswith("member add") and "-w simple" in line:
        text = text.partition("\n\n")[0]  # what follows is for the own configuration
    return text, ran.stderr, ran.exit_code


def test_members(tmp_path, monkeypatch):
    def ours(endpoint, line):
        return sampanctl(endpoint, line, monkeypatch)

    (tmp_path / "sampan").mkdir()
    with run_etcd(tmp_path / "etcd") as etcd, real_node(tmp_path / "sampan") as sampan:
        lines = REFUSED + [line.format(form=form) for form in FORMATS for line in LEARNERS]
        differences = []
        for line in lines:
            wanted, found = shown(etcdctl, etcd, line), shown(ours, sampan, line)
            if wanted != found:
                differences.append(f"{line}\n  etcdctl:   {wanted}\n  sampanctl: {found}")
    assert not differences, "\n".join(differences)
