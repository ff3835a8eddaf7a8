"""Where a node's certificate is: files that are read again whenever they have changed."""

from typing import NamedTuple


class CertificateFiles(NamedTuple):
    """PEM files of an address that takes TLS; primitives, for a child process."""

    cert: str
    """The certificate, with those between it and its authority."""
    key: str
    trusted_ca: str = ""
    """Authorities: only clients with a certificate of theirs are let in. Empty: any client."""
