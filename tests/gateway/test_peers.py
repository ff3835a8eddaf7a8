"""The gateway and other people's HTTP programs."""

import os
import re
import shutil
import subprocess

import pytest

from .raw import message

H2SPEC = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")


def program(name):
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    return name


def run(*command):
    """The output of a program that has to succeed."""
    done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def h2spec(tmp_path_factory):
    if found := shutil.which("h2spec"):
        return found
    into = tmp_path_factory.mktemp("bin")
    build = subprocess.run(
        [program("go"), "install", H2SPEC],
        env=os.environ | {"GOBIN": str(into)},
        capture_output=True,
        timeout=240,
        check=False,
    )
    if build.returncode:
        pytest.skip(f"h2spec cannot be built: {build.stderr.decode()[-200:]}")
    return into / "h2spec"


def test_h2spec(tls_port, h2spec):
    """All it has, the strict ones too. Over TLS, where requests that are no gRPC are answered."""
    out = run(h2spec, "--port", str(tls_port), "--tls", "--insecure", "--strict", "--timeout", "10")
    assert re.search(rb"\n146 tests, 146 passed, 0 skipped, 0 failed", out)


@pytest.fixture
def request_file(tmp_path):
    path = tmp_path / "request"
    path.write_bytes(message(b"hello"))
    return path


def test_curl(port, tls_port, request_file):
    curl = (program("curl"), "--silent", "--show-error", "--insecure", "--max-time", "60")
    body = ("--data-binary", f"@{request_file}")
    call = (*GRPC, *body)
    url = f"http://127.0.0.1:{port}"
    prior = "--http2-prior-knowledge"
    assert run(*curl, prior, *call, f"{url}/test.Echo/Unary") == message(b"hello")
    assert run(*curl, *body, f"{url}/a?b") == b"POST /a b 10"
    assert run(*curl, f"{url}/lines") == b"line 0\nline 1\nline 2\n"
    url = f"https://127.0.0.1:{tls_port}"
    assert run(*curl, *call, f"{url}/test.Echo/Unary") == message(b"hello")
    version = ("--write-out", "%{http_version}")
    assert run(*curl, *version, *body, f"{url}/a?b") == b"POST /a b 102"
    assert run(*curl, *version, f"{url}/lines") == b"line 0\nline 1\nline 2\n2"
    assert run(*curl, *version, "--http1.1", f"{url}/a") == b"GET /a  01.1"
    assert run(*curl, "--head", f"{url}/a").startswith(b"HTTP/2 200")


def test_plaintext_http_2_that_is_no_grpc_is_reset(port):
    curl = (program("curl"), "--silent", "--max-time", "60", "--http2-prior-knowledge")
    done = subprocess.run([*curl, f"http://127.0.0.1:{port}/version"], check=False)
    assert done.returncode == 92  # HTTP/2 stream error


def test_nghttp(port, request_file):
    url = f"http://127.0.0.1:{port}/test.Echo/Unary"
    out = run(program("nghttp"), "-v", *GRPC, "-d", request_file, url)
    assert b"grpc-status: 0" in out


@pytest.mark.parametrize("tls", [False, True])
def test_h2load(port, tls_port, request_file, tls):
    url = f"https://127.0.0.1:{tls_port}" if tls else f"http://127.0.0.1:{port}"
    load = (program("h2load"), "-n", "5000", "-c", "10", "-m", "50", "-d", request_file)
    out = run(*load, *GRPC, f"{url}/test.Echo/Unary")
    assert b"5000 succeeded, 0 failed, 0 errored" in out
