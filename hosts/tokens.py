"""What signs the tokens of users, from the files that the configuration names."""

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import jwt
from ..config.model import ClusterConfig, ConfigError

if TYPE_CHECKING:
    from ..security.jwt_tokens import JwtTokens


def signer(config: ClusterConfig) -> "JwtTokens | None":
    """None where tokens are simple. Raises ConfigError."""
    options = jwt.parse(config.auth_token)
    if options is None:
        return None
    if any(importlib.util.find_spec(each) is None for each in ("jwt", "cryptography")):
        raise ConfigError("auth_token jwt needs PyJWT: pip install 'sampan[jwt]'")
    from ..security.jwt_tokens import JwtTokens  # an extra, for those who ask for it

    try:
        private = Path(options.private_key).read_bytes() if options.private_key else b""
        public = Path(options.public_key).read_bytes() if options.public_key else b""
        return JwtTokens(options, private, public, time.time)
    except OSError as error:
        raise ConfigError(f"auth_token: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"auth_token: {error}") from error
