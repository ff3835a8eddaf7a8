"""What deploy/ holds is read by the tools that are here, and the program takes it."""

import configparser
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import sampan
from sampan.config import model
from sampan.hosts.command import parser

from .e2e.cluster import COMMAND, WAIT_S, config_values

DEPLOY = Path(sampan.__file__).parent / "deploy"
UNIT = DEPLOY / "systemd" / "sampan@.service"
BIN = Path(sys.executable).parent


def read_yaml(path):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    return list(yaml.safe_load_all(path.read_text()))


# -- systemd


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    there = UNIT.read_text().replace("/opt/sampan/bin/sampan", str(BIN / "sampan"))
    there = re.sub(r"(?m)^(User|Group)=sampan$", r"\1=root", there)  # who may not be here
    unit = tmp_path / "sampan@n1.service"
    unit.write_text(there)
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
    )
    about_it = [line for line in ran.stderr.splitlines() if "sampan" in line]
    assert (ran.returncode, about_it) == (0, [])


def test_the_units_command_line_is_one():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.read_text())
    _, *words = unit["Service"]["ExecStart"].replace("%i", "n1").split()
    told = parser().parse_args(words)
    assert (told.command, told.node, told.data_dir) == ("node", "n1", "/var/lib/sampan")
    assert unit["Service"]["Environment"] == f"TMPDIR=/run/{unit['Service']['RuntimeDirectory']}"


def test_systemd_is_told_of_the_start_and_of_the_end(tmp_path):
    values = config_values(tmp_path, "fused", nodes=1)
    config = tmp_path / "c.json"
    config.write_text(json.dumps(values))
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(WAIT_S)
        node = subprocess.Popen(
            [*COMMAND, "node", "--config", config, "--name", "n1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"NOTIFY_SOCKET": str(address), "PATH": "/usr/bin"},
        )  # fmt: skip
        try:
            told = []
            while "READY=1\nSTATUS=ready" not in told:
                told.append(manager.recv(4096).decode())
            assert all(text.startswith("STATUS=waiting for ") for text in told[:-1])
            node.send_signal(signal.SIGTERM)
            assert manager.recv(4096) == b"STOPPING=1"
            assert node.wait(WAIT_S) == 0
        finally:
            node.kill()
            node.wait()


# -- containers


def test_compose_starts_the_members_of_its_file():
    (compose,) = read_yaml(DEPLOY / "container" / "compose.yaml")
    values = tomllib.loads((DEPLOY / "container" / "cluster.toml").read_text())
    names = [member.name for member in model.build(values, "cluster.toml").members]
    assert list(compose["services"]) == list(compose["volumes"]) == names
    for name, service in compose["services"].items():
        assert parser().parse_args(service["command"]).node == service["hostname"] == name
        assert service["read_only"]
        assert f"{name}:/data" in service["volumes"]


def test_the_image_runs_as_nobody():
    lines = (DEPLOY / "container" / "Dockerfile").read_text().splitlines()
    assert "USER 65534:65534" in lines
    assert 'ENTRYPOINT ["sampan"]' in lines


# -- Kubernetes


def test_the_stateful_sets_pods_are_the_members_of_its_file():
    found = {each["kind"]: each for each in read_yaml(DEPLOY / "kubernetes" / "sampan.yaml")}
    values = tomllib.loads(found["ConfigMap"]["data"]["cluster.toml"])
    spec = found["StatefulSet"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    names = [f"sampan-{number}" for number in range(spec["replicas"])]
    for name in names:
        words = [word.replace("$(POD_NAME)", name) for word in container["args"]]
        told = parser().parse_args(words)
        listens = {key: getattr(told, key) for key in ("client_listen", "http_listen")}
        config = model.build(values | {"node": told.node} | listens, "cluster.toml")
        member = config.member(name)
        assert member.client == f"{name}.{spec['serviceName']}:2378"
        assert config.http_door(member).address.endswith(":2381")
    assert [member.name for member in config.members] == names
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    served = {port["name"]: port["port"] for port in found["Service"]["spec"]["ports"]}
    assert served == ports
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "http"
    assert found["Service"]["spec"]["publishNotReadyAddresses"]
    labels = spec["template"]["metadata"]["labels"]
    selectors = (spec["selector"], found["PodDisruptionBudget"]["spec"]["selector"])
    assert all(each["matchLabels"] == labels for each in selectors)
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["maxUnavailable"] < len(names) / 2


# -- Prometheus and Grafana


def test_every_alert_says_how_bad_it_is_and_what_helps():
    (rules,) = read_yaml(DEPLOY / "prometheus" / "sampan.rules.yaml")
    runbook = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for rule in rules["groups"][0]["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        file, _, section = rule["annotations"]["runbook"].partition(": ")
        assert file == "docs/operations.md"
        assert re.search(rf"(?m)^#+ {re.escape(section)}$", runbook), section
        assert f"`{rule['alert']}`" in runbook


@pytest.fixture
def promtool():
    """Runs it: Debian's package prometheus has it, and TEST_PROMTOOL may say where it is."""
    program = os.environ.get("TEST_PROMTOOL") or shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool")
    return lambda *words: subprocess.run([program, *words], capture_output=True, text=True)


def test_prometheus_takes_the_rules_and_they_fire_when_they_should(promtool, tmp_path):
    rules = DEPLOY / "prometheus" / "sampan.rules.yaml"
    checked = promtool("check", "rules", rules)
    assert (checked.returncode, checked.stderr) == (0, "")
    cases = Path(__file__).with_name("rules.test.yaml").read_text().replace("RULES", str(rules))
    (tmp_path / "cases.yaml").write_text(cases)
    tested = promtool("test", "rules", tmp_path / "cases.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_prometheus_reads_what_the_dashboard_asks_for(promtool, tmp_path):
    """As the expressions of rules, with values in the place of Grafana's variables."""
    dashboard = json.loads((DEPLOY / "grafana" / "sampan.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked = {target["expr"].replace("$__rate_interval", "1m") for target in targets}
    rules = [{"record": f"asked:{n}", "expr": each} for n, each in enumerate(sorted(asked))]
    file = tmp_path / "asked.yaml"
    file.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    checked = promtool("check", "rules", file)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"{len(asked)} rules found" in checked.stdout


def test_the_dashboard_is_one():
    dashboard = json.loads((DEPLOY / "grafana" / "sampan.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    taken = [
        (x, y)
        for panel in dashboard["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken)), "two panels overlap"
    assert max(x for x, _ in taken) < 24
