"""Where a node's certificate is: files that are read again whenever they have changed. And what TLS
may be: etcd's --tls-min-version, --tls-max-version and --cipher-suites."""

from typing import NamedTuple

TLS_12, TLS_13 = "TLS1.2", "TLS1.3"
VERSIONS = (TLS_12, TLS_13)
_GO_TO_OPENSSL = {
    f"TLS_{go}_WITH_{cipher}": f"{openssl}{ours}"
    for go, openssl in (("ECDHE_ECDSA", "ECDHE-ECDSA-"), ("ECDHE_RSA", "ECDHE-RSA-"), ("RSA", ""))
    for cipher, ours in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("AES_128_CBC_SHA256", "AES128-SHA256"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("CHACHA20_POLY1305", "CHACHA20-POLY1305"),
    )
    if openssl or "CHACHA20" not in cipher
}
"""Of TLS 1.2, but for what is broken (RC4, 3DES)."""
_OF_13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
"""Those of TLS 1.3 are always there, with Go as here."""


class TlsRules(NamedTuple):
    """What connections may use; primitives, for a child process."""

    min_version: str = TLS_12
    max_version: str = ""
    """Empty for the newest."""
    cipher_suites: str = ""
    """For TLS 1.2, by Go's names with commas; empty for OpenSSL's choice."""

    def check(self) -> None:
        """Raises ValueError: a sentence that begins with the key."""
        if self.min_version not in VERSIONS:
            raise ValueError(f"tls_min_version must be one of {', '.join(VERSIONS)}")
        if self.max_version not in ("", *VERSIONS):
            raise ValueError(f"tls_max_version must be empty or one of {', '.join(VERSIONS)}")
        if self.max_version and self.max_version < self.min_version:
            raise ValueError("tls_max_version must not be older than tls_min_version")
        if self.cipher_suites and self.min_version == TLS_13:
            raise ValueError("cipher_suites cannot be chosen where there is only TLS 1.3")
        if self.cipher_suites and not self.ciphers():
            raise ValueError("cipher_suites has none for TLS 1.2")

    def ciphers(self) -> str:
        """The suites for TLS 1.2 as OpenSSL has them, empty for its choice; raises ValueError."""
        found = []
        for name in filter(None, self.cipher_suites.split(",")):
            if name in _GO_TO_OPENSSL:
                found.append(_GO_TO_OPENSSL[name])
            elif name not in _OF_13:
                raise ValueError(f"cipher_suites has an unexpected TLS cipher suite {name!r}")
        return ":".join(found)


class CertificateFiles(NamedTuple):
    """PEM files of an address that takes TLS; primitives, for a child process."""

    cert: str
    """The certificate, with those between it and its authority."""
    key: str
    trusted_ca: str = ""
    """Authorities: only clients with a certificate of theirs are let in. Empty: any client."""
    crl: str = ""
    """Their lists of certificates that are revoked; empty: none is."""
    rules: TlsRules = TlsRules()

    @property
    def paths(self) -> tuple[str, ...]:
        """All that there are."""
        return tuple(filter(None, (self.cert, self.key, self.trusted_ca, self.crl)))
