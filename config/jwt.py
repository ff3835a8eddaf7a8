"""etcd's --auth-token: what tokens are, and how those are signed that say by themselves whose."""

import re
from typing import NamedTuple

SIMPLE = "simple"
METHODS = {
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"),
}
_OPTIONS = {"pub-key", "priv-key", "sign-method", "ttl"}
_PERIOD = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
_TTL = "5m"


class JwtOptions(NamedTuple):
    """How tokens are signed."""

    method: str
    private_key: str
    """Its file: PEM, or with HS… the secret itself. Empty where somebody else signs."""
    public_key: str
    """Its file, empty to do without: the private one says it, too."""
    ttl_s: int


def parse(text: str) -> JwtOptions | None:
    """What etcd's option says; None for simple tokens. Raises ValueError."""
    kind, *rest = text.split(",")
    if kind == SIMPLE and not rest:
        return None
    pairs = [each.partition("=") for each in rest]
    options = {name: value for name, _, value in pairs}
    if kind != "jwt" or not options.keys() <= _OPTIONS or len(options) < len(pairs):
        known = "=…,".join(sorted(_OPTIONS))
        raise ValueError(f"must be {SIMPLE}, or jwt,{known}=…")
    method = options.get("sign-method", "")
    if method not in METHODS:
        raise ValueError(f"needs a sign-method, one of {', '.join(sorted(METHODS))}")
    if not options.get("priv-key") and (method.startswith("HS") or not options.get("pub-key")):
        raise ValueError("needs a priv-key, or a pub-key of what somebody else signs with")
    match = _PERIOD.fullmatch(options.get("ttl") or _TTL)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    ttl_s = 3600 * hours + 60 * minutes + seconds
    if not ttl_s:
        raise ValueError('needs a ttl like "5m" or "1h30m10s"')
    return JwtOptions(method, options.get("priv-key", ""), options.get("pub-key", ""), ttl_s)
