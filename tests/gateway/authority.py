"""Certificates for tests: authorities and what they sign, as PEM files."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM
DAY = datetime.timedelta(days=1)


class Authority:
    """Signs; `ca` is its own certificate's file."""

    def __init__(self, folder, name="authority"):
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        extension = x509.BasicConstraints(ca=True, path_length=None)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._sign(self.name, self.key, extension, DAY))

    def _sign(self, subject, key, extension, lasts):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + lasts)
            .add_extension(extension, critical=True)
        )
        if not getattr(extension, "ca", False):
            local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            names = x509.SubjectAlternativeName([local, x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)

    def issue(self, file, common_name="", lasts=DAY):
        """(certificate's file, key's file); they are overwritten where they are there."""
        key = ec.generate_private_key(ec.SECP256R1())
        oid, name = x509.NameOID.COMMON_NAME, common_name
        subject = x509.Name([x509.NameAttribute(oid, name)] if name else [])
        extension = x509.BasicConstraints(ca=False, path_length=None)
        cert, private = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        cert.write_bytes(self._sign(subject, key, extension, lasts))
        private.write_bytes(
            key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return cert, private

    def revoke(self, file, *certs):
        """Write the list of these certificates, which are revoked."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now - DAY)
            .next_update(now + DAY)
        )
        for cert in certs:
            number = x509.load_pem_x509_certificate(cert.read_bytes()).serial_number
            one = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - DAY)
            builder = builder.add_revoked_certificate(one.build())
        file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(PEM))
