"""Configurations: what is read, what wins, and what is refused with which words."""

import json

import pytest
from sampan.config import model
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
    ("environment", "words"),
    [
        ({"SAMPAN_HEARTBEAT_MS": "soon"}, "SAMPAN_HEARTBEAT_MS: expected a whole number"),
        ({"SAMPAN_ALLOW_INSECURE": "yes"}, "SAMPAN_ALLOW_INSECURE: expected true or false"),
    ],
)
def test_a_wrong_environment(environment, words):
    with pytest.raises(ConfigError, match=words):
        model.from_environment(environment)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (values(cluster=""), "cluster must not be empty"),
        (values(members={}), "members must be a list"),
        (values(members=[]), "at least one member"),
        (values(members=["a"]), "member 1 must have exactly"),
        (values(heartbeat_ms=5), "heartbeat_ms must be at least 10"),
        (values(heartbeat_ms=True), "heartbeat_ms must be int, got True"),
        (values(heartbeat_ms=50.0), "heartbeat_ms must be int"),
        (values(election_ms=60_000, request_timeout_ms=70_000), "election_ms must be at most"),
        (values(request_timeout_ms=10), "request_timeout_ms must be at least election_ms"),
        (values(log_level="loud"), "log_level must be one of"),
        (values(log_entries_max=1), "log_entries_max must be at least"),
        (values(log_bytes_max=1), "log_bytes_max must be at least"),
        (values(client_requests_per_s=-1), "client_requests_per_s must not be negative"),
        (values(client_keys_per_s=-1), "client_keys_per_s must not be negative"),
        (values(client_listen="nowhere"), "'nowhere' is not HOST:PORT"),
        (member(id=0), "member 1: id must be between 1"),
        (member(id=2**63), "member 1: id must be between 1"),
        (member(id="1"), "member 1: id must be"),
        (member(id=True), "member 1: id must be"),
        (member(id=2), "two members have the same id"),
        (member(name="b"), "two members have the same name"),
        (member(name="../a"), "member 1: name must be letters"),
        (member(name=""), "member 1: name must be letters"),
        (member(client="127.0.0.1:3"), "two members share an address"),
        (member(client="127.0.0.1"), "is not HOST:PORT"),
        (member(client="127.0.0.1:99999"), "is not HOST:PORT"),
        (member(extra=1), "member 1 must have exactly"),
    ],
)
def test_what_is_refused(wrong, words):
    with pytest.raises(ConfigError) as caught:
        build(wrong, "file.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("file.toml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("nodes", "base"), [(0, 2379), (10, 2379), (3, 80), (3, 65_535)])
def test_local_clusters_have_bounds(nodes, base):
    with pytest.raises(ConfigError, match="must be"):
        model.local_cluster(nodes, base)


def test_a_local_cluster():
    config = build(model.local_cluster(3, 7000), "--nodes")
    assert [m.client for m in config.members] == [f"127.0.0.1:{7000 + 2 * n}" for n in range(3)]


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
        model.check_insecure(config, config.members[0], "here")
    trusted = build(member(client=address) | {"allow_insecure": True}, "here")
    model.check_insecure(trusted, trusted.members[0], "here")


def test_the_listen_address_counts_not_the_advertised_one():
    whole = member(client="192.0.2.1:1") | {"client_listen": "127.0.0.1:9", "node": "a"}
    config = build(whole, "here")
    model.check_insecure(config, config.members[0], "here")


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
    ],
)
def test_what_automatic_compaction_keeps(mode, retention, kept):
    config = build(values(auto_compaction_mode=mode, auto_compaction_retention=retention), "here")
    assert config.auto_compaction_keep == kept


@pytest.mark.parametrize(
    ("mode", "retention"),
    [("periodic", ""), ("periodic", "1d"), ("periodic", "-1"), ("revision", "1h"), ("x", "1")],
)
def test_a_retention_that_is_none(mode, retention):
    with pytest.raises(ConfigError, match="here: auto_compaction"):
        build(values(auto_compaction_mode=mode, auto_compaction_retention=retention), "here")
