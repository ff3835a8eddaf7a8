"""Tokens that say by themselves whose they are."""

import base64
import datetime
import json
import time

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from sampan.config.jwt import JwtOptions, parse
from sampan.security import jwt_tokens
from sampan.security.jwt_tokens import JwtTokens

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
KEYS = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "PS384": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
SECRET = b"a secret of thirty-two bytes, or more"


def pair(method):
    if method not in KEYS:
        return SECRET, b""
    key = KEYS[method]
    private = key.private_bytes(PEM, PKCS8, serialization.NoEncryption())
    return private, key.public_key().public_bytes(PEM, PUBLIC)


class Clock:
    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


def made(method="RS256", public=True, clock=time.time, ttl_s=300):
    private, known = pair(method)
    return JwtTokens(JwtOptions(method, "", "", ttl_s), private, known if public else b"", clock)


@pytest.mark.parametrize("method", [*KEYS, "HS256"])
@pytest.mark.parametrize("public", [True, False])
def test_what_was_signed_is_read(method, public):
    tokens = made(method, public)
    token = tokens.sign("carol", 7)
    assert tokens.read(token)[:2] == ("carol", 7)
    assert made(method).read(token) == tokens.read(token), "by another member"
    assert token.count(".") == 2


@pytest.mark.parametrize("method", KEYS)
def test_what_somebody_else_signs_is_read(method):
    private, public = pair(method)
    reads = JwtTokens(JwtOptions(method, "", "a", 300), b"", public, time.time)
    assert not reads.signs
    assert reads.read(made(method).sign("carol", 7))[:2] == ("carol", 7)
    with pytest.raises(ValueError, match="key"):
        JwtTokens(JwtOptions(method, "", "a", 300), b"", private, time.time)


def certificate(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "who signs")])
    begins = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=1))
    )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return made.sign(key, digest).public_bytes(PEM)


@pytest.mark.parametrize("method", KEYS)
def test_a_public_key_may_be_in_a_certificate(method):
    """Whose dates and names nobody looks at, as at etcd."""
    private, _ = pair(method)
    inside = certificate(KEYS[method])
    token = made(method).sign("carol", 7)
    for key in (private, b""):
        reads = JwtTokens(JwtOptions(method, "", "a", 300), key, inside, time.time)
        assert reads.read(token)[:2] == ("carol", 7)
    damaged = inside.replace(b"CERTIFICATE-----\n", b"CERTIFICATE-----\nAAAA", 1)
    with pytest.raises(ValueError, match="key"):
        JwtTokens(JwtOptions(method, "", "a", 300), b"", damaged, time.time)


def test_a_token_is_over_after_its_time():
    clock = Clock()
    tokens = made(clock=clock)
    token = tokens.sign("carol", 7)
    assert tokens.read(token)
    clock.now += 301
    assert tokens.read(token) is None
    assert made(clock=clock).read(token) is None, "nor for who has not seen it before"


def forged(**changes):
    """Signed by the right key, and not as ours."""
    claims = {"username": "carol", "revision": 7, "exp": time.time() + 60} | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, KEYS["RS256"], "RS256")


def unsigned(token, algorithm):
    """The same claims, with another algorithm in the head."""
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).rstrip(b"=")
    return ".".join([head.decode(), token.split(".")[1], ""])


def test_what_is_none_of_ours_is_nobodys():
    tokens = made()
    token = tokens.sign("carol", 7)
    other = jwt.encode(
        {"username": "root", "revision": 7, "exp": time.time() + 60}, KEYS["PS384"], "RS256"
    )
    by_secret = jwt.encode(
        {"username": "root", "revision": 7, "exp": time.time() + 60}, SECRET, "HS256"
    )
    for wrong in (
        "", "-", "a.b.c", token[:-8], token[:-8] + "AAAAAAAA", other, by_secret,
        unsigned(token, "none"), unsigned(token, "HS256"), unsigned(token, "RS256"),
        forged(username=None), forged(username=5), forged(revision=None), forged(revision="7"),
        forged(exp=None), forged(exp=time.time() - 1), forged(nbf=time.time() + 60),
    ):  # fmt: skip
        assert tokens.read(wrong) is None, wrong
    assert tokens.read(forged())


def test_what_is_remembered_has_a_bound(monkeypatch):
    monkeypatch.setattr(jwt_tokens, "KNOWN_MAX", 3)
    tokens = made("HS256")
    for number in range(10):
        assert tokens.read(tokens.sign("carol", number)).revision == number
    assert len(tokens._known) == 3


def test_keys_that_do_not_fit():
    rsa_pair, ec_pair = pair("RS256"), pair("ES256")
    for method, private, public in (
        ("RS256", b"no PEM", b""), ("RS256", ec_pair[0], b""), ("ES256", rsa_pair[0], b""),
        ("RS256", rsa_pair[0], pair("PS384")[1]), ("RS256", rsa_pair[1], b""), ("HS256", b"", b""),
        ("RS256", b"", certificate(KEYS["ES256"])),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="key"):
            JwtTokens(JwtOptions(method, "", "", 300), private, public, time.time)


def test_options():
    assert parse("simple") is None
    assert parse("jwt,pub-key=a,priv-key=b,sign-method=RS256,ttl=1h1m1s") == (
        "RS256", "b", "a", 3661,
    )  # fmt: skip
    assert parse("jwt,priv-key=b,sign-method=ES256").ttl_s == 300
    assert parse("jwt,pub-key=a,sign-method=ES256") == ("ES256", "", "a", 300)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be simple, or jwt"), ("jwt2", "must be simple"), ("simple,x=1", "must be"),
        ("jwt,x=1,priv-key=b,sign-method=RS256", "must be simple, or jwt"),
        ("jwt,priv-key=b,priv-key=c,sign-method=RS256", "must be simple, or jwt"),
        ("jwt,priv-key=b", "needs a sign-method"), ("jwt,priv-key=b,sign-method=none", "sign-meth"),
        ("jwt,sign-method=RS256", "needs a priv-key, or a pub-key"),
        ("jwt,sign-method=HS256,pub-key=a", "needs a priv-key"),
        ("jwt,priv-key=b,sign-method=RS256,ttl=5", "needs a ttl"),
        ("jwt,priv-key=b,sign-method=RS256,ttl=0s", "needs a ttl"),
    ],
)  # fmt: skip
def test_options_that_are_none(text, words):
    with pytest.raises(ValueError, match=words):
        parse(text)
