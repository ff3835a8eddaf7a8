"""`etcdctl snapshot save` of a node, and what sampanctl makes of the file."""

import json
import subprocess

from ..ports import free_port
from .test_backup import SAMPANCTL, sampanctl

ETCDCTL = SAMPANCTL.with_name("etcdctl")


def test_what_etcdctl_saves_is_a_backup(make_cluster, tmp_path):
    cluster = make_cluster(nodes=1)
    (member,) = cluster.config["members"]
    member["gateway"] = f"127.0.0.1:{free_port()}"
    cluster.start()
    with cluster.client() as client:
        for i in range(300):
            revision = client.put(f"k{i}", bytes([i % 256]) * 1000).header.revision
    file = tmp_path / "saved"
    saved = subprocess.run(
        [ETCDCTL, "--endpoints", member["gateway"], "snapshot", "save", file],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert saved.returncode == 0, saved.stderr
    assert f"Snapshot saved at {file}" in saved.stdout
    told = json.loads(sampanctl("snapshot", "status", file, "-w", "json").stdout)
    assert (told["revision"], told["totalKey"]) == (revision, 300)
