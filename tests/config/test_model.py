"""Configurations: what is read, what wins, and what is refused with which words."""

import dataclasses
import json

import pytest
from sampan.config import checks, local, model
from sampan.config.limits import LogLimits
from sampan.config.model import ConfigError, build


def values(**changes):
    base = {
        "cluster": "c",
        "members": [
            {"id": 1, "name": "a", "client": "127.0.0.1:1", "peer": "127.0.0.1:2"},
            {"id": 2, "name": "b", "client": "127.0.0.1:3", "peer": "127.0.0.1:4"},
        ],
    }
    return base | changes


def member(**changes):
    """The configuration with its first member changed."""
    whole = values()
    whole["members"][0] |= changes
    return whole


def test_the_configuration_that_ships_is_good():
    config = build(model.load(model.DEV_CLUSTER), "dev")
    assert [m.name for m in config.members] == ["n1", "n2", "n3"]
    assert config.placement in model.PLACEMENTS


def test_toml_and_json_say_the_same(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(values()))
    (tmp_path / "c.toml").write_text(
        'cluster = "c"\n'
        + "".join(
            "[[members]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in m.items())
            for m in values()["members"]
        )
    )
    found = [build(model.load(tmp_path / name), name) for name in ("c.json", "c.toml")]
    assert found[0] == found[1]


def test_a_child_process_gets_the_whole_of_it():
    config = build(values(heartbeat_ms=50, log_entries_max=100), "here")
    assert model.from_json(config.to_json()) == config


def test_the_environment_names_every_scalar_key():
    found = model.from_environment(
        {
            "SAMPAN_HEARTBEAT_MS": "70", "SAMPAN_ALLOW_INSECURE": "TRUE",
            "SAMPAN_DATA_DIR": "/x", "SAMPAN_MEMBERS": "no", "OTHER": "no",
        }
    )  # fmt: skip
    assert found == {"heartbeat_ms": 70, "allow_insecure": True, "data_dir": "/x"}


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("False", False), ("0", False)]
)
def test_a_variable_that_says_true_or_false(text, value):
    assert model.from_environment({"SAMPAN_ALLOW_INSECURE": text}) == {"allow_insecure": value}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SAMPAN_HEARTBEAT_MS": "soon"}, "SAMPAN_HEARTBEAT_MS: expected a whole number"),
        ({"SAMPAN_ALLOW_INSECURE": "yes"}, "SAMPAN_ALLOW_INSECURE: expected true or false"),
    ],
)
def test_a_wrong_environment(environment, words):
    with pytest.raises(ConfigError, match=words):
        model.from_environment(environment)


def test_variables_that_are_no_keys_are_found():
    environ = {"SAMPAN_HEARTBEET_MS": "70", "SAMPAN_MEMBERS": "x", "SAMPAN_DATA_DIR": "/x", "A": ""}
    assert model.unknown_in_environment(environ) == ["SAMPAN_HEARTBEET_MS", "SAMPAN_MEMBERS"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"heartbeat_ms": 5}, "^SAMPAN_HEARTBEAT_MS must be at least 10"),
        ({"data_dir": "a\0b"}, "^--data-dir must have no NUL"),
        ({"auto_compaction_retention": "x"}, "^file: auto_compaction_retention must be a whole"),
    ],
)
def test_an_error_blames_where_the_value_came_from(wrong, words):
    overridden = {"heartbeat_ms": "SAMPAN_HEARTBEAT_MS", "data_dir": "--data-dir"}
    with pytest.raises(ConfigError, match=words):
        build(values(**wrong), "file", overridden)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (values(cluster=""), "cluster must not be empty"),
        (values(members={}), "members must be a list"),
        (values(members=[]), "at least one member"),
        (values(members=["a"]), "member 1 must have name"),
        (values(heartbeat_ms=5), "heartbeat_ms must be at least 10"),
        (values(heartbeat_ms=True), "heartbeat_ms must be int, got True"),
        (values(heartbeat_ms=50.0), "heartbeat_ms must be int"),
        (values(election_ms=60_000, request_timeout_ms=70_000), "election_ms must be at most"),
        (values(request_timeout_ms=10), "request_timeout_ms must be at least election_ms"),
        (values(log_level="loud"), "log_level must be one of"),
        (values(log_entries_max=1), "log_entries_max must be at least"),
        (values(log_bytes_max=1), "log_bytes_max must be at least"),
        (values(client_requests_per_s=-1), "client_requests_per_s must not be negative"),
        (values(bcrypt_cost=3), "bcrypt_cost must be 4 to 31"),
        (values(auth_token_ttl_s=0), "auth_token_ttl_s must be at least 1"),
        (values(client_keys_per_s=-1), "client_keys_per_s must not be negative"),
        (values(client_leases_per_s=-1), "client_leases_per_s must not be negative"),
        (values(archive_dir="a", archive_command="cp %p b"), "archive_command and archive_dir are"),
        (values(archive_command="cp b"), "archive_command must have %p in it"),
        (values(snapshot_bytes_per_s=1000), "snapshot_bytes_per_s must be at least 1048576"),
        (values(snapshot_bytes_per_s=-1), "snapshot_bytes_per_s must be at least"),
        (values(client_listen="nowhere"), "'nowhere' is not HOST:PORT"),
        (member(id=-1), "member 1: id must be a number from 0 to 2^64 - 1"),
        (member(id=2**64), "member 1: id must be a number from 0 to 2^64 - 1"),
        (member(id="1"), "member 1: id must be"),
        (member(id=True), "member 1: id must be"),
        (member(id=2), "two members have the same id"),
        (member(name="b"), "two members have the same name"),
        (member(name="../a"), "member 1: name must be letters"),
        (member(name=""), "member 1: name must be letters"),
        (member(client="127.0.0.1:3"), "member 2: client 127.0.0.1:3 is taken"),
        (member(client="tcp://127.0.0.1:3"), "member 2: client 127.0.0.1:3 is taken"),
        (member(peer="http://127.0.0.1:1/"), "member 1: peer http://127.0.0.1:1/ is taken"),
        (member(client="[::1]:7", peer="[0:0::1]:7"), "member 1: peer [0:0::1]:7 is taken"),
        (member(client="Host:7", peer="host:7"), "member 1: peer host:7 is taken"),
        (member(gateway="127.0.0.1:1"), "member 1: gateway 127.0.0.1:1 is taken"),
        (member(gateway="127.0.0.1"), "is not HOST:PORT"),
        (
            member(gateway="h:7") | {"node": "a", "gateway_listen": "127.0.0.1:1"},
            "an address twice",
        ),
        (values(node="a", client_listen="127.0.0.1:2"), "an address twice"),
        (values(node="a", client_listen="h:7", peer_listen="tcp://h:7"), "an address twice"),
        (member(http="127.0.0.1:1"), "member 1: http 127.0.0.1:1 is taken"),
        (member(http="here"), "member 1: http: 'here' is not HOST:PORT"),
        (member(http=8080), "member 1: http must be str"),
        (values(node="a", http_listen="127.0.0.1:1"), "an address twice"),
        (member(client="127.0.0.1:0"), "member 1: client: 127.0.0.1:0 must name a port"),
        (values(peer_listen="127.0.0.1:0"), "peer_listen: 127.0.0.1:0 must name a port"),
        (member(client="u@127.0.0.1:1"), "member 1: client: 'u@127.0.0.1:1' is not HOST:PORT"),
        (member(client="127.0.0.1:1#x"), "member 1: client: '127.0.0.1:1#x' is not HOST:PORT"),
        (member(client="127.0.0.1:1?"), "is not HOST:PORT"),
        (member(client="127.0.0.1:1\n"), "is not HOST:PORT"),
        (member(client="127.0.0.1:\ud8001"), "member 1: client must be UTF-8"),
        (values(cluster="\udcff"), "cluster must be UTF-8, got '\\udcff'"),
        (values(data_dir="x\ud800"), "data_dir must be UTF-8"),
        (values(data_dir="x\0y"), "data_dir must have no NUL in it"),
        (values(quota_bytes=2**63), "quota_bytes must be a number within 2^63 - 1"),
        (values(quota_bytes=-(2**63)), "quota_bytes must be a number within 2^63 - 1"),
        (values(request_timeout_ms=10**400), "request_timeout_ms must be a number within"),
        (values(corrupt_check_ms=10**5000), "corrupt_check_ms must be a number within"),
        (values(cluster=10**5000), "cluster must be str, got a number beyond 2^63 - 1"),
        (values(cluster=[[16**5000]]), "cluster must be str, got [[a number beyond 2^63 - 1]]"),
        (values(**{"k" * 9999: 1}), "unknown key 'kkk"),
        (member(client="127.0.0.1"), "is not HOST:PORT"),
        (member(client="127.0.0.1:99999"), "is not HOST:PORT"),
        (values(initial_cluster_state="old"), "initial_cluster_state must be one of new, existing"),
        (member(extra=1), "member 1 must have name"),
    ],
)
def test_what_is_refused(wrong, words):
    with pytest.raises(ConfigError) as caught:
        build(wrong, "file.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("file.toml: ")
    assert "\n" not in str(caught.value)


def nested(depth):
    inner = []
    for _ in range(depth):
        inner = [inner]
    return inner


def test_what_is_shown_of_a_wrong_value_is_short():
    for wrong in ("x" * 9999, list(range(9999)), nested(100_000)):
        with pytest.raises(ConfigError, match="heartbeat_ms must be int, got ") as caught:
            build(values(heartbeat_ms=wrong), "here")
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"cluster": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        ("c.json", '{"a":' * 100_000 + "1" + "}" * 100_000),
        ("c.toml", "cluster = " + "[" * 100_000 + "]" * 100_000),
        ("c.toml", "cluster = " + "{a=" * 100_000 + "1" + "}" * 100_000),
    ],
    ids=["json lists", "json tables", "toml lists", "toml tables"],
)
def test_what_is_nested_without_end(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"{name}: lists or tables are nested too deeply"):
        model.load(tmp_path / name)


def build_to_bind(whole):
    """What is done for a member that is to run here."""
    config = build(whole, "here")
    checks.check_insecure(config, config.members[0], "here")


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "xn--\u00fc\u00fc--"])
def test_a_host_that_is_no_name(host):
    """Whether parsing refuses it, or resolving."""
    with pytest.raises(ConfigError, match="here: ") as caught:
        build_to_bind(member(client=f"{host}:1"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("nodes", "base"), [(0, 2379), (10, 2379), (3, 80), (3, 65_535)])
def test_local_clusters_have_bounds(nodes, base):
    with pytest.raises(ConfigError, match="must be"):
        local.cluster(nodes, base)


def test_a_local_cluster():
    config = build(local.cluster(3, 7000), "--nodes")
    assert [m.gateway for m in config.members] == [f"127.0.0.1:{7001 + 3 * n}" for n in range(3)]
    assert [m.client for m in config.members] == [f"127.0.0.1:{7000 + 3 * n}" for n in range(3)]


def test_only_the_named_member_binds_elsewhere():
    config = build(values(client_listen="127.0.0.2:9", node="b"), "here")
    a, b = config.members
    assert config.listen(a) == ("127.0.0.1:1", "127.0.0.1:2")
    assert config.listen(b) == ("127.0.0.2:9", "127.0.0.1:4")
    with pytest.raises(ConfigError, match="no member is named 'z'; the configuration has a, b"):
        config.member("z")


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"])
def test_addresses_that_others_reach_need_a_word(address):
    config = build(member(client=address), "here")
    with pytest.raises(ConfigError, match="allow_insecure"):
        checks.check_insecure(config, config.members[0], "here")
    trusted = build(member(client=address) | {"allow_insecure": True}, "here")
    checks.check_insecure(trusted, trusted.members[0], "here")


def test_the_listen_address_counts_not_the_advertised_one():
    whole = member(client="192.0.2.1:1") | {"client_listen": "127.0.0.1:9", "node": "a"}
    config = build(whole, "here")
    checks.check_insecure(config, config.members[0], "here")


def test_clusters_of_other_names_have_other_ids():
    ids = {build(values(cluster=name), "here").cluster_id for name in ("a", "b", "c")}
    assert len(ids) == 3
    assert all(0 < cluster_id < 2**63 for cluster_id in ids)


def test_the_logs_bounds_follow_from_two_numbers():
    bounds = build(values(log_entries_max=800, log_bytes_max=1 << 20), "here").log_limits
    assert bounds == LogLimits(800, 1 << 20)
    assert 0 < bounds.keep_entries < bounds.flush_entries < bounds.entries_max
    assert bounds.flush_bytes < bounds.bytes_max < bounds.held_bytes_max


@pytest.mark.parametrize(
    ("mode", "retention", "kept"),
    [
        ("periodic", "0", 0),
        ("periodic", "1", 3600),
        ("periodic", "1h30m5s", 5405),
        ("periodic", "10m", 600),
        ("periodic", "5s", 5),
        ("revision", "0", 0),
        ("revision", "1000", 1000),
        ("revision", str(2**63 - 1), 2**63 - 1),
        ("periodic", f"{2**63 - 1}s", 2**63 - 1),
    ],
)
def test_what_automatic_compaction_keeps(mode, retention, kept):
    config = build(values(auto_compaction_mode=mode, auto_compaction_retention=retention), "here")
    assert config.auto_compaction_keep == kept


@pytest.mark.parametrize(
    ("mode", "retention"),
    [
        ("periodic", ""), ("periodic", "1d"), ("periodic", "-1"), ("revision", "1h"), ("x", "1"),
        ("periodic", "9" * 400 + "h"), ("periodic", f"{2**63 // 3600 + 1}h"),
        ("periodic", "9" * 5000), ("periodic", "9" * 5000 + "s"),
        ("revision", "9" * 5000), ("revision", str(2**63)),
    ],
)  # fmt: skip
def test_a_retention_that_is_none(mode, retention):
    with pytest.raises(ConfigError, match="here: auto_compaction"):
        build(values(auto_compaction_mode=mode, auto_compaction_retention=retention), "here")


def test_where_the_gateway_listens():
    config = build(member(gateway="h:9") | {"allow_insecure": True}, "file.toml")
    (one,) = [m for m in config.members if m.gateway]
    assert config.gateway_doors(one) == (("h:9", False),)
    assert config.bound(one) == (one.client, one.peer, "h:9")
    off = dataclasses.replace(config, gateway=False)
    assert off.gateway_doors(one) == ()
    assert off.bound(one) == (one.client, one.peer)
    here = dataclasses.replace(config, node=one.name, gateway_listen="127.0.0.1:99")
    assert here.gateway_doors(one) == (("127.0.0.1:99", False),)


def test_with_a_certificate_etcds_clients_come_by_tls_but_where_it_says_otherwise():
    files = {"cert_file": "c", "key_file": "k", "allow_insecure": True}
    config = build(member(gateway="h:9", http="http://h:10") | files, "here")
    (one,) = [m for m in config.members if m.gateway]
    assert config.gateway_doors(one) == (("h:9", True),)
    assert config.gateway_url(one) == "https://h:9"
    assert config.http_door(one) == ("h:10", False)
    here = dataclasses.replace(config, node=one.name, gateway_listen="http://h:1,https://h:2")
    assert here.gateway_doors(one) == (("h:1", False), ("h:2", True))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cert_file": "c"}, "cert_file and key_file are needed both"),
        ({"key_file": "k"}, "cert_file and key_file are needed both"),
        ({"cert_file": "c", "key_file": "k", "auto_tls": True}, "leave out cert_file"),
        ({"auto_tls": True, "client_cert_auth": True}, "needs trusted_ca_file"),
        ({"trusted_ca_file": "c"}, "needs a certificate of the node"),
        ({"gateway_listen": "https://127.0.0.1:1"}, "set cert_file and key_file, or auto_tls"),
        ({"http_listen": "https://127.0.0.1:1"}, "set cert_file and key_file, or auto_tls"),
    ],
)
def test_certificates_that_cannot_be(keys, words):
    with pytest.raises(ConfigError, match=words):
        build(member(gateway="127.0.0.1:9") | keys, "here")


def test_an_address_that_others_reach_needs_a_certificate_or_permission():
    plain = build(member(gateway="192.0.2.1:9"), "here")
    (one,) = [m for m in plain.members if m.gateway]
    with pytest.raises(ConfigError, match="has no certificate: set cert_file and key_file"):
        checks.check_insecure(plain, one, "here")
    secured = build(member(gateway="192.0.2.1:9") | {"auto_tls": True}, "here")
    checks.check_insecure(secured, one, "here")
    mixed = build(member(gateway="192.0.2.1:9", http="http://192.0.2.1:8") | {"auto_tls": True}, "")
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:8 can be reached"):
        checks.check_insecure(mixed, mixed.members[0], "here")
