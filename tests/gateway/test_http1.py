"""HTTP/1.1 on the gateway's port."""

import http.client
import socket

import pytest
from sampan.config import limits


@pytest.fixture
def connection(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    yield connection
    connection.close()


def ask(connection, method, path, body=None, **headers):
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def exchanged(port, data):
    """All that is answered to these bytes until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(data)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return answer


def test_requests_on_one_connection(connection):
    assert ask(connection, "GET", "/a?b=c") == (200, b"GET /a b=c 0")
    sock = connection.sock
    assert ask(connection, "POST", "/d", b"x" * 100_000) == (200, b"POST /d  100000")
    assert ask(connection, "GET", "/lines") == (200, b"line 0\nline 1\nline 2\n")
    assert ask(connection, "HEAD", "/a") == (200, b"")
    assert ask(connection, "POST", "/d", iter([b"chunks", b"more"])) == (200, b"POST /d  10")
    assert connection.sock is sock


def test_requests_that_do_not_wait_for_answers(port):
    one = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answer = exchanged(port, one % 1 + one % 2 + last)
    texts = (b"200 OK", b"GET /1 ", b"GET /2 ", b"GET /last ")
    assert [answer.count(text) for text in texts] == [3, 1, 1, 1]


def test_http_1_0(port):
    answer = exchanged(port, b"GET /lines HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nline 0\nline 1\nline 2\n")


def test_a_client_that_asks_whether_to_go_on(port):
    head = b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(head)
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"abc")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_a_fault_of_ours(connection):
    assert ask(connection, "GET", "/fault") == (500, b"")
    assert ask(connection, "GET", "/a") == (200, b"GET /a  0")


def test_a_body_has_a_limit(port):
    head = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    size = limits.HTTP_BODY_BYTES_MAX
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(head % size + bytes(size))
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(head % (size + 1) + bytes(size + 1))
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.1\r\n\r\n", b"505"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * limits.HTTP_HEADER_BYTES_MAX, b"431"),
    ],
    ids=["garbage", "no host", "another HTTP/2", "long headers"],
)
def test_what_is_no_request(port, data, status):
    assert exchanged(port, data).split()[1] == status
