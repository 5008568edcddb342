"""The certificates in the files that the user named, and nothing else of what is in them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from banger.api import ConfigError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
#: Bytes of one file. The authorities that browsers trust are a quarter of a megabyte together.
_SIZE_LIMIT = 1024 * 1024


def read_certificates(files: Iterable[str]) -> str:
    """Return every certificate once, PEM after PEM; private keys and comments in the files stay here.

    :raises ConfigError: a file cannot be read, is too large, or has no certificate or a broken one.
    """
    found: dict[str, None] = {}
    for name in files:
        found |= dict.fromkeys(_certificates(Path(os.path.expanduser(name))))
    return "".join(found)


def _certificates(path: Path) -> list[str]:
    key = "plugins.authorities.files"
    if not path.is_absolute():
        raise ConfigError(f"{key}: {path} is no absolute path", hint=f"write {Path.home() / path}")
    try:
        with path.open("rb") as file:
            text = file.read(_SIZE_LIMIT + 1).decode("ascii", "replace")
    except OSError as error:
        raise ConfigError(
            f"{key}: {path}: {error.strerror}", hint="banger config show plugins.authorities"
        ) from error
    if len(text) > _SIZE_LIMIT:
        raise ConfigError(
            f"{key}: {path} is larger than {_SIZE_LIMIT} bytes", hint="name the file of one authority"
        )
    blocks = [block.partition(_END)[0] for block in text.split(_BEGIN)[1:]]
    if not blocks:
        raise ConfigError(
            f"{key}: {path} has no certificate in PEM", hint=f"openssl x509 -inform DER -in {path}"
        )
    return [_normal(path, block) for block in blocks]


def _normal(path: Path, block: str) -> str:
    """Return one certificate as OpenSSL writes it."""
    try:
        encoded = ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{block}{_END}\n")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=encoded)
        return ssl.DER_cert_to_PEM_cert(encoded)
    except (ValueError, ssl.SSLError) as error:
        raise ConfigError(
            f"plugins.authorities.files: {path} has a broken certificate",
            hint=f"openssl x509 -text -in {path}",
        ) from error
