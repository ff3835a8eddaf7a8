"""The certificate of a node: its files looked at before anything starts, or one made for it."""

import datetime
import importlib.util
import ipaddress
from pathlib import Path
from typing import Any

from ..config import addresses
from ..config.certificates import CertificateFiles
from ..config.model import ClusterConfig, ConfigError, Member
from ..gateway.wire.certificates import CertificateError, context
from ..storage.data_dir import write_durably

FOLDER = "certificate"
"""In the data dir: what `auto_tls` makes."""
VALID = datetime.timedelta(days=365)
"""As etcd's --self-signed-cert-validity."""


def files(config: ClusterConfig, data: Path) -> CertificateFiles | None:
    """Where the certificate of the member with this data dir is; None where it needs none."""
    cert, key = config.cert_file, config.key_file
    if config.auto_tls:
        made = data / FOLDER
        cert, key = str(made / "cert.pem"), str(made / "key.pem")
    if not cert:
        return None
    return CertificateFiles(
        cert, key, config.trusted_ca_file, config.client_crl_file, config.tls_rules
    )


def check(config: ClusterConfig) -> None:
    """Raises ConfigError where the configured files cannot be used."""
    if config.auto_tls and importlib.util.find_spec("cryptography") is None:
        raise ConfigError("auto_tls needs the package cryptography: pip install 'sampan[tls]'")
    if config.auto_tls or (found := files(config, Path())) is None:
        return
    try:
        context(found)
    except CertificateError as error:
        raise ConfigError(
            f"no certificate for etcd's clients: {error}; cert_file, key_file, trusted_ca_file "
            "and client_crl_file are PEM, and the key, which has no password, is that of the first "
            "certificate"
        ) from error


def make_if_needed(config: ClusterConfig, member: Member, data: Path, log: Any) -> None:
    """Make the certificate of `auto_tls`, for the addresses that the member binds, unless one is
    there that is good for half of its time yet.

    Raises:
        ConfigError: it cannot be made.
    """
    found = files(config, data)
    if not config.auto_tls or found is None or _is_good(found):
        return
    advertised = (each for each in (member.gateway, member.http) if each)
    named = [addresses.without_scheme(each)[1] for each in advertised]
    named += [door.address for door in config.http_doors(member)]
    hosts = sorted({addresses.parse(each)[0] for each in named})
    try:
        _write(found, hosts)
    except OSError as error:
        raise ConfigError(f"auto_tls: {error.filename}: {error.strerror}") from error
    log.warning(
        "made a certificate that nobody vouches for: connections are encrypted, but a client "
        "cannot know that it reached this node",
        cert=found.cert,
    )


def _is_good(found: CertificateFiles) -> bool:
    from cryptography import x509  # an extra, for those who ask for it

    try:
        certificate = x509.load_pem_x509_certificate(Path(found.cert).read_bytes())
        context(found)
    except (OSError, ValueError):  # there is none, or not a whole one
        return False
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left > VALID / 2


def _write(found: CertificateFiles, hosts: list[str]) -> None:
    """A key on P-521 and a certificate for the hosts, as etcd makes them, both 0600."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP521R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Sampan")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(list(map(_alternative, hosts))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    Path(found.cert).parent.mkdir(mode=0o700, exist_ok=True)
    write_durably(Path(found.key), private)
    write_durably(Path(found.cert), made.public_bytes(pem))


def _alternative(host: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
