import dataclasses
from pathlib import Path

import pytest
from sampan.bench import main as bench
from sampan.bench import programs
from sampan.bench.errors import BenchError
from sampan.bench.plan import Spread
from sampan.bench.spec import LoadSpec


def spec(*arguments):
    return bench.load_spec(bench.parser().parse_args(arguments))


def test_every_option_reaches_the_load():
    got = spec(
        "mixed",
        *("--endpoints", "127.0.0.1:1, 127.0.0.1:3", "--clients", "64", "--total", "1000"),
        *("--key-size", "20", "--value-size", "512", "--keys", "77", "--connections", "8"),
        *("--rate", "500", "--processes", "2", "--seed", "9", "--warmup", "3"),
        *("--serializable", "--read-percent", "80"),
    )
    assert got == LoadSpec(
        kind="mixed",
        endpoints=("127.0.0.1:1", "127.0.0.1:3"),
        clients=64,
        total=1000,
        key_size=20,
        value_size=512,
        keys=77,
        connections=8,
        rate=500,
        processes=2,
        seed=9,
        warmup=3,
        serializable=True,
        read_percent=80,
    )


def test_few_clients_share_few_connections():
    assert spec("put", "--clients", "1").connections == 1
    assert spec("put", "--clients", "64").connections == 6
    assert spec("put", "--clients", "1000").connections == 10
    assert spec("put", "--clients", "8", "--processes", "4").connections == 4
    assert spec("put", "--total", "5000").warmup == 500


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["put", "--clients", "0"], "--clients"),
        (["put", "--clients", "10", "--total", "9"], "--total"),
        (["put", "--keys", "0"], "--keys"),
        (["put", "--keys", "1000", "--key-size", "2"], "--key-size"),
        (["put", "--value-size", "-1"], "--value-size"),
        (["put", "--clients", "4", "--connections", "5"], "--connections"),
        (["put", "--processes", "0"], "--processes"),
        (["put", "--processes", "11"], "--processes"),
        (["put", "--rate", "-1"], "--rate"),
        (["put", "--rate", "1", "--processes", "2"], "--rate"),
        (["put", "--warmup", "-1"], "--warmup"),
        (["put", "--endpoints", " ,"], "--endpoints"),
        (["mixed", "--read-percent", "101"], "--read-percent"),
        (["compare", "--rounds", "0"], "--rounds"),
        (["compare", "--keys", "0"], "--keys"),
        (["compare", "--connections", "-1"], "--connections"),
    ],
)
def test_impossible_work_is_refused_with_the_option_named(arguments, named, capsys):
    assert bench.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("sampan bench: ")
    assert named in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["delete"],
        ["put", "--serializable"],
        ["compare", "--placements", "threads"],
        ["compare", "--placements", ""],
        ["compare", "--scale", "0"],
        ["compare", "--scale", "many"],
    ],
)
def test_unknown_words_are_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert "usage: sampan bench" in capsys.readouterr().err


def test_comparison_options():
    arguments = ["compare", "--placements", "fused", "--scale", "0.01", "--pipelined"]
    options = bench.compare_options(bench.parser().parse_args(arguments))
    assert options.placements == ("fused",)
    totals = [options.total(row) for row in options.rows()]
    # Never below the clients; idle connections are as many as their row says.
    assert totals == [1000, 1000, 1000, 400, 30, 1500, 60, 60, 1500, 100, 100, 4, 100, 1000, 1]
    assert options.rows()[-2].message_puts > 0
    many, one = (next(r for r in options.rows() if r.clients == n) for n in (64, 1))
    assert options.spreads_to_try(one) == (Spread(1, 1),)
    assert len(options.spreads_to_try(many)) > 1
    one_client = options.spec(one, ("127.0.0.1:1",), Spread(1, 1))
    assert (one_client.clients, one_client.connections, one_client.processes) == (1, 1, 1)


def test_single_rows_can_be_chosen(capsys):
    arguments = ["compare", "--only", "reads, 1 client", "--only", "puts, 64"]
    rows = bench.compare_options(bench.parser().parse_args(arguments)).rows()
    assert [row.name for row in rows] == [
        "puts, 64 clients",
        "linearizable reads, 1 client",
        "serializable reads, 1 client",
    ]
    assert bench.main(["compare", "--only", "reads", "--only", "deletes"]) == 1
    error = capsys.readouterr().err
    assert "--only 'deletes'" in error
    assert "put, 1 client, p50" in error


def test_an_etcd_that_is_no_program_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: f"/bin/{name}")
    plain = tmp_path / "etcd"
    plain.write_text("")
    for path in (plain, tmp_path, tmp_path / "missing"):
        assert bench.main(["compare", "--etcd", str(path)]) == 1
        assert f"--etcd {path} is not a program" in capsys.readouterr().err


def test_shares_add_up():
    whole = LoadSpec(
        kind="put",
        endpoints=("127.0.0.1:1",),
        clients=100,
        connections=7,
        processes=3,
        total=1001,
        warmup=10,
        rate=100,
    )
    shares = [whole.share(index) for index in range(3)]
    for name in ("clients", "connections", "total", "warmup", "rate"):
        assert sum(getattr(share, name) for share in shares) == getattr(whole, name)
    assert len({share.seed for share in shares}) == 3
    assert all(share.connections >= 1 for share in shares)


def test_a_spec_travels_as_json():
    whole = LoadSpec(kind="range", endpoints=("a:1", "b:2"), serializable=True, seed=4)
    assert LoadSpec.from_json(whole.to_json()) == whole
    assert set(whole.to_json()) == {field.name for field in dataclasses.fields(LoadSpec)}


def test_keys_have_their_size_and_differ():
    keys = LoadSpec(kind="put", endpoints=("a:1",), keys=1000, key_size=5).all_keys()
    assert {len(key) for key in keys} == {5}
    assert len(set(keys)) == 1000


def test_a_plot_is_refused_before_the_measurement(capsys, monkeypatch):
    assert bench.main(["put", "--plot", "plot.pdf"]) == 1
    assert ".png or .svg" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert bench.main(["put", "--plot", "plot.png"]) == 1
    assert "pip install 'sampan[bench]'" in capsys.readouterr().err


def test_missing_programs_are_all_named_with_their_remedy(capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    assert bench.main(["compare"]) == 1
    error = capsys.readouterr().err
    for text in (
        "etcd is not",
        "etcdctl is not",
        "h2load is not",
        "sampan[bench]",
        "nghttp2-client",
    ):
        assert text in error


def test_a_program_that_fails_is_quoted(tmp_path):
    script = tmp_path / "failing"
    script.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    script.chmod(0o700)
    with pytest.raises(BenchError, match=r"failing ended with exit code 3: no such luck"):
        programs.run_program([str(script)], 10)


def test_a_disk_that_is_none_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: f"/bin/{name}")
    monkeypatch.setattr("sampan.bench.compare.is_volatile", lambda directory: True)
    assert bench.main(["compare"]) == 1
    assert "an fsync costs nothing" in " ".join(capsys.readouterr().err.split())
    assert bench.main(["compare", "--directory", str(Path("/does/not/exist"))]) == 1
    assert "is not a directory" in capsys.readouterr().err
