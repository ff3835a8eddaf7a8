"""`sampan etcd`: etcd's flags, variables and files, and what becomes of them."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from sampan.bench.ports import free_ports
from sampan.config import model
from sampan.config.model import ConfigError
from sampan.hosts import certificates, etcd_command
from sampan.hosts.etcd_command import UsageError, cluster_id, member_id, read, translate

from ..ports import free_port

WAIT_S = 60.0
ECDSA = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"


def built(*argv, environ=None):
    given, notes = read(argv, environ or {})
    return model.build(translate(given, notes), "flags"), notes


def test_ids_are_etcds():
    """As a real etcd had them."""
    one = member_id(["http://127.0.0.1:14380"], "etcd-cluster")
    assert one == 7026481039975517645
    assert cluster_id([one]) == 15068982936956642583


def test_the_order_of_members_and_urls_does_not_matter():
    urls = ["http://b:1", "http://a:1"]
    assert member_id(urls, "t") == member_id(urls[::-1], "t")
    assert cluster_id([1, 2**64 - 1]) == cluster_id([2**64 - 1, 1])


def test_defaults():
    config, notes = built()
    (own,) = config.members
    assert (own.name, own.peer) == ("default", "localhost:2380")
    assert config.gateway_url(own) == "http://localhost:2379"
    assert (config.data_dir, config.cluster) == ("default.etcd", "etcd-cluster")
    assert config.gateway_doors(own) == (("localhost:2379", False),)
    if own.client == "localhost:2378":  # which another may have on this machine
        assert notes == []


def test_three_members():
    config, notes = built(
        "--name", "b", "-data-dir=/d", "--initial-cluster-token", "t",
        "--listen-client-urls", "http://0.0.0.0:7379,http://127.0.0.1:8379",
        "--advertise-client-urls", "http://10.0.0.2:7379",
        "--listen-peer-urls", "http://0.0.0.0:7380",
        "--initial-cluster", "a=http://10.0.0.1:7380,b=http://10.0.0.2:7380,c=http://10.0.0.3:7380",
        "--heartbeat-interval=50", "--election-timeout", "500", "--snapshot-count", "1",
        "--quota-backend-bytes", "12345", "--auto-compaction-retention", "1h", "--log-level=warn",
        "--pre-vote", "--max-txn-ops", "128",
    )  # fmt: skip
    own = config.member("b")
    assert own.id == member_id(["http://10.0.0.2:7380"], "t")
    assert config.cluster_id == cluster_id([m.id for m in config.members])
    assert config.gateway_doors(own) == (("0.0.0.0:7379", False), ("127.0.0.1:8379", False))
    assert config.listen(own)[1] == "0.0.0.0:7380"
    assert own.client.startswith("10.0.0.2:")
    assert config.listen(own)[0].startswith("0.0.0.0:")
    assert (config.heartbeat_ms, config.election_ms, config.quota_bytes) == (50, 500, 12345)
    assert (config.auto_compaction_retention, config.log_level) == ("1h", "warning")
    assert notes == [
        "accepted, and without a meaning here: --max-txn-ops, --pre-vote",
        f"Sampan's own clients are served at {own.client}: --sampan-listen names another",
    ]
    assert model.from_json(config.to_json()) == config


def test_certificates():
    flags = ["--listen-client-urls", "https://127.0.0.1:7379,http://127.0.0.1:8379",
             "--advertise-client-urls", "https://127.0.0.1:7379",
             "--listen-metrics-urls", "http://127.0.0.1:9379"]  # fmt: skip
    files = ["--cert-file", "c", "--key-file", "k", "--trusted-ca-file", "t", "--client-cert-auth"]
    config, notes = built(*flags, *files, "--auto-tls")
    (own,) = config.members
    assert config.gateway_doors(own) == (("127.0.0.1:7379", True), ("127.0.0.1:8379", False))
    assert config.http_door(own) == ("127.0.0.1:9379", False)
    assert config.gateway_url(own) == "https://127.0.0.1:7379"
    assert (config.cert_file, config.key_file, config.trusted_ca_file) == ("c", "k", "t")
    assert config.client_cert_auth
    assert not config.auto_tls
    assert notes == [
        "--auto-tls is ignored: --cert-file is given",
        "--listen-client-urls: http://127.0.0.1:8379 is served without TLS, whatever the "
        "certificate",
        "--listen-metrics-urls: http://127.0.0.1:9379 is served without TLS, whatever the "
        "certificate",
        f"Sampan's own clients are served at {own.client}: --sampan-listen names another",
    ]
    with pytest.raises(ConfigError, match="must be provided for client url https"):
        built(*flags)
    assert built(*flags, "--auto-tls")[0].auto_tls
    assert not built("--auto-tls")[0].auto_tls, "no URL of it is https"


def test_what_tls_may_be():
    config, notes = built(
        "--tls-max-version=TLS1.2", "--client-crl-file", "l", "--trusted-ca-file", "t",
        "--cert-file", "c", "--key-file", "k",
        "--cipher-suites", f"{ECDSA},TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    )  # fmt: skip
    assert config.tls_rules.ciphers() == "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305"
    found = certificates.files(config, Path("/d"))
    assert found.paths == ("c", "k", "t", "l")
    assert found.rules == ("TLS1.2", "TLS1.2", config.cipher_suites)
    assert not [each for each in notes if "without a meaning" in each]


@pytest.mark.parametrize("prefix", ["", "experimental-"])
def test_times_are_written_as_go_writes_them(prefix):
    config, _ = built(f"--{prefix}watch-progress-notify-interval", "1m0.5s")
    assert config.watch_progress_ms == 60_500


@pytest.mark.parametrize(("flag", "strict"), [("", True), ("=true", True), ("=false", False)])
def test_how_strict_changes_of_members_are_checked(flag, strict):
    config, notes = built(f"--strict-reconfig-check{flag}")
    assert config.strict_reconfig_check is strict
    assert not [each for each in notes if "without a meaning" in each]


def test_numbers_that_etcd_does_not_take_at_their_word():
    """0 says nothing, and what is out of bounds is put right, with a word."""
    own = "--sampan-listen=127.0.0.1:9"
    plain, known = built(own)
    config, notes = built(
        own, "--watch-progress-notify-interval=0s", "--auth-token-ttl=0", "--snapshot-count=0"
    )
    assert (config, notes) == (plain, known)
    config, notes = built(own, "--watch-progress-notify-interval=10ms", "--bcrypt-cost=40")
    assert config == replace(plain, watch_progress_ms=100)
    assert notes == [
        *known,
        "--watch-progress-notify-interval is at least 100ms, which it is now",
        "--bcrypt-cost is 4 to 31: the default is taken",
    ]


def test_who_joins_takes_the_ids_that_the_cluster_has():
    config, _ = built("--initial-cluster-state", "existing", "--data-dir", "/nowhere")
    assert (config.cluster_id, config.members[0].id) == (0, 0)


def test_variables_and_flags():
    config, notes = built(
        "--name", "flag", environ={"ETCD_NAME": "variable", "ETCD_DATA_DIR": "/v", "ETCD_NOPE": "1"}
    )
    assert (config.node, config.data_dir) == ("flag", "/v")
    assert notes == ["unrecognized environment variable ETCD_NOPE"]


def test_a_file_excludes_them(tmp_path):
    path = tmp_path / "etcd.yaml"
    path.write_text(
        "name: file\nheartbeat-interval: 20\nlisten-client-urls: http://127.0.0.1:7379\n"
        "advertise-client-urls: http://127.0.0.1:7379\nlog-outputs: [stderr]\nstrange: 1\n"
        "client-transport-security:\n  cert-file:\n  auto-tls: false\n"
    )
    config, _ = built("--config-file", str(path), "--name", "flag", environ={"ETCD_NAME": "no"})
    assert (config.node, config.heartbeat_ms) == ("file", 20)
    path.write_text("peer-transport-security: {cert-file: a.pem}")
    with pytest.raises(ConfigError, match="--peer-cert-file is not there yet"):
        built("--config-file", str(path))
    path.write_text("[")
    with pytest.raises(ConfigError, match="is not YAML"):
        built("--config-file", str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        built("--config-file", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--listen-client-urls", "http://h:1"], "--advertise-client-urls is required"),
        (["--initial-cluster", "x=http://h:1"], "couldn't find local name 'default'"),
        (["--initial-cluster", "http://h:1"], "is not NAME=URL"),
        (["--listen-peer-urls", "https://h:1"], "there are no certificates between members"),
        (["--listen-metrics-urls", "https://h:1"], "TLS key/cert (--cert-file, --key-file) must"),
        (["--cert-file", "a"], "cert_file and key_file are needed both"),
        (["--client-cert-auth"], "client_cert_auth needs trusted_ca_file"),
        (["--listen-peer-urls", "h:1"], "URL scheme must be http"),
        (["--listen-peer-urls", "http://h"], "is not HOST:PORT"),
        (["--trusted-ca-file", "ca.pem"], "trusted_ca_file needs a certificate"),
        (["--client-crl-file", "a.pem"], "client_crl_file needs trusted_ca_file"),
        (["--peer-crl-file", "a.pem"], "not there yet"),
        (["--tls-min-version", "TLS1.1"], "tls_min_version must be one of TLS1.2, TLS1.3"),
        (["--tls-max-version", "1.3"], "tls_max_version must be empty or one of"),
        (["--tls-min-version", "TLS1.3", "--tls-max-version", "TLS1.2"], "must not be older"),
        (["--tls-min-version", "TLS1.3", "--cipher-suites", ECDSA], "there is only TLS 1.3"),
        (["--cipher-suites", "TLS_RSA_WITH_RC4_128_SHA"], "an unexpected TLS cipher suite"),
        (["--cipher-suites", "TLS_AES_128_GCM_SHA256"], "none for TLS 1.2"),
        (["--watch-progress-notify-interval", "5"], "not a time like 1m30s"),
        (["--heartbeat-interval", "x"], "not a number"),
        (["--initial-cluster-state", "other"], "initial_cluster_state must be"),
        (["--sampan-listen", "127.0.0.1"], "is not HOST:PORT"),
    ],
)
def test_what_cannot_be(argv, words):
    with pytest.raises(ConfigError) as caught:
        built(*argv)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["--name"], "flag needs an argument: -name"),
        (["start"], "'start' is not a valid flag"),
    ],
)
def test_what_is_no_flag(argv, words, capsys):
    with pytest.raises(UsageError, match=words):
        read(argv, {})
    assert etcd_command.main(argv) == 2
    assert words in capsys.readouterr().err


def test_version(capsys):
    assert etcd_command.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("etcd Version: 3.6.")


def test_a_node(tmp_path):
    client, peer, other = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    secure, metrics = (f"https://127.0.0.1:{free_port()}" for _ in range(2))
    command = [
        sys.executable, "-m", "sampan", "etcd", "--data-dir", str(tmp_path / "data"),
        "--listen-client-urls", f"{client},{secure}", "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--initial-cluster", f"default={peer}", "--logger", "zap",
        "--auto-tls", "--listen-metrics-urls", f"{metrics},{other}",
    ]  # fmt: skip
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stderr=out)
    folder = tmp_path / "data" / "default" / "certificate"
    try:
        give_up = time.monotonic() + WAIT_S
        while "ready to serve client requests" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.02)
        trusting = ssl.create_default_context(cafile=folder / "cert.pem")
        for url, context in ((client, None), (secure, trusting)):
            asked = urllib.request.Request(f"{url}/v3/maintenance/status", b"{}")
            with urllib.request.urlopen(asked, timeout=WAIT_S, context=context) as answer:
                header = json.load(answer)["header"]
        own = member_id([peer], "etcd-cluster")
        assert header["member_id"] == str(own)
        assert header["cluster_id"] == str(cluster_id([own]))
        for at, context in ((client, None), (metrics, trusting)):
            asked = f"{at}/metrics"
            with urllib.request.urlopen(asked, timeout=WAIT_S, context=context) as answer:
                assert b"\netcd_server_has_leader " in answer.read()
        assert "without a meaning here: --logger" in log.read_text()
        assert "of --listen-metrics-urls only the first is used" in log.read_text()
        assert "made a certificate that nobody vouches for" in log.read_text()
        assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def test_neighbours_whose_ports_follow_each_other(tmp_path):
    """As etcd's guides write them for one machine: nobody takes what the next one is told."""
    ports = iter(free_ports(6))
    urls = [tuple(f"http://127.0.0.1:{next(ports)}" for _ in range(2)) for _ in range(3)]
    cluster = ",".join(f"m{i}={peer}" for i, (_, peer) in enumerate(urls))
    with ExitStack() as running:
        for i, (client, peer) in reversed(list(enumerate(urls))):
            command = [
                sys.executable, "-m", "sampan", "etcd", "--name", f"m{i}",
                "--data-dir", str(tmp_path / f"m{i}"), "--initial-cluster", cluster,
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            ]  # fmt: skip
            log = running.enter_context((tmp_path / f"log{i}").open("w"))
            process = running.enter_context(subprocess.Popen(command, stderr=log))
            running.callback(process.terminate)
        for i, (client, _) in enumerate(urls):
            wait_until_healthy(client, tmp_path / f"log{i}")
    assert process.returncode == 0


def wait_until_healthy(url, log):
    give_up = time.monotonic() + WAIT_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=WAIT_S).close()
            break
        except OSError:
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)


def test_a_certificate_that_was_made_is_kept(tmp_path, log):
    config = built("--auto-tls", "--listen-client-urls", "https://127.0.0.1:1",
                   "--advertise-client-urls", "https://ship:1")[0]  # fmt: skip
    found = certificates.files(config, tmp_path)
    made = []
    for broken in (None, None, found.key, found.cert):
        if broken:
            Path(broken).write_text("")
        certificates.make_if_needed(config, config.members[0], tmp_path, log)
        made.append(Path(found.cert).read_bytes())
    assert made[0] == made[1] != made[2] != made[3]
    shown = x509.load_pem_x509_certificate(made[3])
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ship"]
    assert list(map(str, names.get_values_for_type(x509.IPAddress))) == ["127.0.0.1"]


def test_files_that_cannot_be_used_are_told_before_anything_starts(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sampan", "etcd", "--data-dir", str(tmp_path / "data"),
         "--cert-file", "/nowhere/c", "--key-file", "/nowhere/k"],
        capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no certificate for etcd's clients: /nowhere/c and /nowhere/k: No such" in done.stderr
    assert not (tmp_path / "data").exists()
