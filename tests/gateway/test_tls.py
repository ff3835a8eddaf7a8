"""TLS at the gateway: who is let in, what is shown, and what changes while it runs."""

import asyncio
import os
import socket
import ssl

import grpc
import pytest
from sampan.config import limits
from sampan.config.certificates import CertificateFiles, TlsRules
from sampan.gateway.wire.certificates import CertificateError, Certificates, context
from sampan.gateway.wire.server import Gateway

from .authority import DAY, Authority
from .conftest import echo_server
from .echo_server import METHODS, app
from .raw import Client

WAIT_S = 180.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Another authority, of which nobody here knows."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def open_port(authority):
    """One that lets everybody in."""
    with echo_server("asyncio", *authority.issue("open")) as server:
        yield server.port


@pytest.fixture(scope="module")
def closed_port(authority, loop):
    """One that wants a certificate of the authority."""
    with echo_server(loop, *authority.issue("closed"), authority.ca) as server:
        yield server.port


def client_context(authority, *certificate, alpn=()):
    made = ssl.create_default_context(cafile=authority.ca)
    if certificate:
        made.load_cert_chain(*certificate)
    if alpn:
        made.set_alpn_protocols(alpn)
    return made


def connect(port, with_context):
    raw = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    try:
        return with_context.wrap_socket(raw, server_hostname="127.0.0.1")
    except BaseException:
        raw.close()
        raise


def get(connection, path="/here"):
    """The first bytes of an answer; raises where there is none."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answer = connection.recv(1 << 16)
    if not answer:
        raise ConnectionError("hung up")
    return answer


def shown(port, authority):
    """The serial number of the certificate that a new connection is shown."""
    with connect(port, client_context(authority)) as connection:
        return connection.getpeercert()["serialNumber"]


def channel(port, authority, *certificate):
    key = certificate[1].read_bytes() if certificate else None
    chain = certificate[0].read_bytes() if certificate else None
    credentials = grpc.ssl_channel_credentials(authority.ca.read_bytes(), key, chain)
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials)


def ask(channel, method, data=b""):
    return channel.unary_unary(f"/test.Echo/{method}")(data, timeout=WAIT_S)


def test_both_protocols_by_their_names_or_by_their_first_bytes(open_port, authority):
    for alpn in ([], ["http/1.1"], ["spdy/3"]):
        with connect(open_port, client_context(authority, alpn=alpn)) as connection:
            assert b" 200 OK" in get(connection)
    with connect(open_port, client_context(authority, alpn=["h2", "http/1.1"])) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.recv(9)[3] == 4, "SETTINGS"
    with channel(open_port, authority) as grpcs:
        assert ask(grpcs, "Sized", b"3000000") == bytes(3_000_000)
        assert ask(grpcs, "User") == b""


def test_by_which_name_it_was_asked(open_port, authority):
    """HTTP/2 has it in a field of its own, which goes before one of HTTP/1.1's."""
    with_context = client_context(authority, alpn=["h2"])
    with_context.check_hostname = False
    with Client(open_port, tls=with_context) as client:
        client.send(client.head(1, ended=True, path="/host", method="GET", content_type="a/b"))
        assert client.answer(1)[1] == b"localhost"
        client.send(client.head(3, ended=True, path="/host", content_type="a/b", host="b"))
        assert client.answer(3)[1] == b"localhost"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_what_is_older_than_tls_1_2_is_refused(open_port, authority):
    old, new = client_context(authority), client_context(authority)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        connect(open_port, old)
    new.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(open_port, new) as connection:
        assert connection.version() == "TLSv1.2"
        assert b" 200 OK" in get(connection)


def test_what_is_no_tls_is_hung_up(open_port):
    with socket.create_connection(("127.0.0.1", open_port), timeout=WAIT_S) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while data := plain.recv(1 << 16):
            assert b"HTTP" not in data


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("who", ["nobody", "stranger", "expired", "impostor"])
def test_who_is_not_let_in(closed_port, authority, stranger, who, version):
    certificate = {
        "nobody": (),
        "stranger": stranger.issue("carol", "carol"),
        "expired": authority.issue("expired", "carol", lasts=-DAY),
        "impostor": Authority(stranger.folder, "authority").issue("impostor", "carol"),
    }[who]
    with_context = client_context(authority, *certificate)
    with_context.maximum_version = ssl.TLSVersion[version]
    with pytest.raises((ssl.SSLError, ConnectionError)), connect(closed_port, with_context) as its:
        get(its)


def test_who_is_let_in_is_known_by_name(closed_port, authority):
    with channel(closed_port, authority, *authority.issue("carol", "carol")) as carol:
        assert ask(carol, "User") == b"carol"
    with channel(closed_port, authority, *authority.issue("bare")) as bare:
        assert ask(bare, "User") == b""
    with connect(closed_port, client_context(authority, authority.folder / "carol.crt",
                                             authority.folder / "carol.key")) as carol:  # fmt: skip
        assert b" 200 OK" in get(carol)


class Lines:
    """A log."""

    def __init__(self):
        self.lines = []

    def info(self, event, **values):
        self.lines.append(event)

    error = warning = info


class Serving:
    """A gateway in this process."""

    def __init__(self, files):
        self.log = Lines()
        self.certificates = Certificates(files, self.log)

    async def __aenter__(self):
        self.gateway = Gateway(METHODS, app, self.log)
        self.port = await self.gateway.listen("127.0.0.1", 0, self.certificates)
        return self

    async def __aexit__(self, *_):
        await self.gateway.aclose()

    def hear(self, what, *arguments):
        return asyncio.get_running_loop().run_in_executor(None, what, *arguments)


def test_new_files_are_for_new_connections(authority, stranger):
    cert, key = authority.issue("renewed")

    async def script():
        async with Serving(CertificateFiles(str(cert), str(key))) as server:
            first = await server.hear(shown, server.port, authority)
            assert await server.hear(shown, server.port, authority) == first
            old = await server.hear(connect, server.port, client_context(authority))
            authority.issue("renewed")
            second = await server.hear(shown, server.port, authority)
            assert second != first
            assert b" 200 OK" in await server.hear(get, old)
            old.close()
            assert server.log.lines == ["new certificates are used"]
            cert.write_bytes(b"no certificate")
            for _ in range(3):
                assert await server.hear(shown, server.port, authority) == second
            key.write_bytes(b"")
            assert await server.hear(shown, server.port, authority) == second
            cert.unlink()
            assert await server.hear(shown, server.port, authority) == second
            broken = "the old certificates are used on"
            assert server.log.lines[1:] == [broken, broken], "one for each of what was there"
            authority.issue("renewed")
            assert await server.hear(shown, server.port, authority) not in (first, second)
            # Replaced by a rename, as `mv` and Kubernetes do, and by what is of another authority.
            other, other_key = stranger.issue("other")
            os.replace(other_key, key)
            os.replace(other, cert)
            assert await server.hear(shown, server.port, stranger)

    asyncio.run(script())


def is_let_in(port, authority, certificate):
    try:
        with connect(port, client_context(authority, *certificate)) as connection:
            get(connection)
    except (ssl.SSLError, ConnectionError):
        return False
    return True


def test_who_is_revoked_is_let_in_no_more(authority, tmp_path):
    revoked = tmp_path / "revoked.pem"
    authority.revoke(revoked)
    files = CertificateFiles(*map(str, (*authority.issue("lists"), authority.ca, revoked)))
    carol, bob = authority.issue("carol2", "carol"), authority.issue("bob2", "bob")

    async def script():
        async with Serving(files) as server:
            found = []
            for those in ([], [carol[0]]):
                authority.revoke(revoked, *those)
                each = [
                    await server.hear(is_let_in, server.port, authority, c) for c in (carol, bob)
                ]
                found.append(each)
            assert found == [[True, True], [False, True]]

    asyncio.run(script())


@pytest.mark.parametrize(
    ("rules", "spoken"),
    [
        (TlsRules("TLS1.3"), {"TLSv1_3"}),
        (TlsRules(max_version="TLS1.2"), {"TLSv1_2"}),
        (TlsRules(cipher_suites="TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), {"TLSv1_2", "TLSv1_3"}),
    ],
)
def test_what_tls_may_be(authority, rules, spoken):
    files = CertificateFiles(*map(str, authority.issue("rules")), rules=rules)

    def suite(port, version):
        with_context = client_context(authority)
        with_context.minimum_version = with_context.maximum_version = ssl.TLSVersion[version]
        try:
            with connect(port, with_context) as connection:
                return connection.cipher()[0]
        except (ssl.SSLError, ConnectionError):
            return None

    async def script():
        async with Serving(files) as server:
            return {
                version: await server.hear(suite, server.port, version)
                for version in ("TLSv1_2", "TLSv1_3")
            }

    found = asyncio.run(script())
    assert {version for version, suite in found.items() if suite} == spoken
    if rules.cipher_suites:
        assert found["TLSv1_2"] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_whose_authority_is_taken_away_is_let_in_no_more(authority, stranger, tmp_path):
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.ca.read_bytes())
    files = CertificateFiles(*map(str, (*authority.issue("authorities"), trusted)))
    ours, theirs = authority.issue("ours", "a"), stranger.issue("theirs", "b")

    async def script():
        async with Serving(files) as server:
            found = []
            for known in ([authority], [authority, stranger], [stranger], [authority]):
                trusted.write_bytes(b"".join(each.ca.read_bytes() for each in known))
                each = (ours, theirs)
                found.append(
                    [await server.hear(is_let_in, server.port, authority, c) for c in each]
                )
            assert found == [[True, False], [True, True], [False, True], [True, False]]
            assert "a connection by TLS was refused" in server.log.lines

    asyncio.run(script())


def test_who_does_not_shake_hands_counts_and_is_cut(authority, monkeypatch):
    """Before the handshake is done a connection is one of those that there may be, and has as long
    as any to say what it wants."""
    files = CertificateFiles(*map(str, authority.issue("silent")))
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS_MAX", 2)

    async def script():
        async with Serving(files) as server:
            silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
            silent[0][1].write(b"\x16\x03\x01")
            third, its = await asyncio.open_connection("127.0.0.1", server.port)
            assert await asyncio.wait_for(third.read(), WAIT_S) == b""
            for writer in (its, silent[1][1]):
                writer.close()
                await writer.wait_closed()
            monkeypatch.setattr(limits, "HTTP_HELLO_S", 0.01)
            while True:  # until the one that has gone is seen to have
                last, its = await asyncio.open_connection("127.0.0.1", server.port)
                assert await asyncio.wait_for(last.read(), WAIT_S) == b""
                its.close()
                await its.wait_closed()
                if len(server.gateway._doors) < 2:
                    break
            silent[0][1].close()

    asyncio.run(script())


@pytest.mark.parametrize("wrong", ["missing", "key", "encrypted", "authorities", "revoked"])
def test_files_that_cannot_be_used(authority, stranger, tmp_path, wrong):
    cert, key = map(str, authority.issue("wrong"))
    none = str(tmp_path / "none")
    (tmp_path / "text").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    files = {
        "missing": CertificateFiles(none, key),
        "key": CertificateFiles(cert, str(stranger.issue("key")[1])),
        "encrypted": CertificateFiles(cert, str(tmp_path / "text")),
        "authorities": CertificateFiles(cert, key, none),
        "revoked": CertificateFiles(cert, key, str(authority.ca), cert),  # that is no list
    }[wrong]
    with pytest.raises(CertificateError):
        context(files)
