"""The certificates of a gateway, as their files say at each new connection.

Files are replaced while the node runs, and one after the other: what cannot be used yet is told
once, and the old certificate is shown until what is there fits together. Connections that are open
keep what they were opened with, as everywhere.
"""

import ssl
from pathlib import Path
from typing import Any

from ...config.certificates import TLS_12, TLS_13, CertificateFiles

ALPN = ["h2", "http/1.1"]
_VERSIONS = {TLS_12: ssl.TLSVersion.TLSv1_2, TLS_13: ssl.TLSVersion.TLSv1_3}
Seen = tuple[tuple[int, int, int], ...]
"""Of each file what differs when it was replaced."""


class CertificateError(ValueError):
    """Files that cannot be used; the text says which and why."""


class Certificates:
    """What new connections get."""

    def __init__(self, files: CertificateFiles, log: Any) -> None:
        """Read the files.

        Raises:
            CertificateError: they cannot be used.
        """
        self._files = files
        self._log = log
        self._seen = _look(files)
        self._context = context(files)

    def context(self) -> ssl.SSLContext:
        """For a connection that begins now."""
        try:
            seen = _look(self._files)
        except CertificateError:
            return self._context  # one is being replaced
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = context(self._files)
                self._log.info("new certificates are used", cert=self._files.cert)
            except CertificateError as error:
                self._log.error("the old certificates are used on", reason=str(error))
        return self._context


def _look(files: CertificateFiles) -> Seen:
    try:
        found = [Path(path).stat() for path in files.paths]
    except OSError as error:
        raise CertificateError(f"{error.filename}: {error.strerror}") from error
    return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)


def context(files: CertificateFiles) -> ssl.SSLContext:
    """TLS for a server that shows what is in the files.

    Raises:
        CertificateError: they cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _VERSIONS[files.rules.min_version]
    if files.rules.max_version:
        made.maximum_version = _VERSIONS[files.rules.max_version]
    if ciphers := files.rules.ciphers():
        made.set_ciphers(ciphers)
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    made.set_alpn_protocols(ALPN)
    try:
        made.load_cert_chain(files.cert, files.key, lambda: "")
    except (OSError, ValueError) as error:  # ValueError: an encrypted key, without a password
        why = _why(error)
        raise CertificateError(f"{files.cert} and {files.key}: {why}") from error
    if files.trusted_ca:
        made.verify_mode = ssl.CERT_REQUIRED
        # A ticket would let in whose certificate has expired meanwhile.
        made.options |= ssl.OP_NO_TICKET
        made.num_tickets = 0
        _trust(made, files.trusted_ca)
        if files.crl:
            _trust(made, files.crl)
            made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            if not made.cert_store_stats()["crl"]:
                raise CertificateError(f"{files.crl}: has no list of revoked certificates")
    return made


def _trust(made: ssl.SSLContext, path: str) -> None:
    try:
        made.load_verify_locations(path)
    except OSError as error:
        raise CertificateError(f"{path}: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "is not PEM"
    return getattr(error, "strerror", None) or str(error)
