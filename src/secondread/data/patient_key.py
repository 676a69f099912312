"""Patients by a key that only the holder of the secret can make."""

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from secondread.errors import ConfigError

_BYTES = 32


def load_secret(home: Path) -> bytes:
    """Read the user's secret, making it at first use.

    Args:
        home: the user's own folder; the secret is `home/patient_secret`, readable by its owner alone.
    Returns:
        32 bytes.
    Raises:
        ConfigError: the file is damaged.
    """
    path = home / "patient_secret"
    if not path.exists():
        _make_secret(path)
    secret = path.read_bytes()
    if len(secret) != _BYTES:
        raise ConfigError(f"{path}: {len(secret)} bytes instead of {_BYTES}; restore it, or delete it to begin anew")
    return secret


def patient_key(secret: bytes, patient_id: str) -> str:
    """Name a patient without telling who it is.

    Args:
        patient_id: as the source writes it; DICOM pads values with spaces (PS3.5 6.2), so those around it do not count.
    Returns:
        32 hexadecimal characters of HMAC-SHA256.
    """
    return hmac.new(secret, patient_id.strip().encode(), hashlib.sha256).hexdigest()[:32]


def _make_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its owner's alone, mode 600
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(secrets.token_bytes(_BYTES))
        # A link, unlike a rename, never replaces the secret that another process has made meanwhile.
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
