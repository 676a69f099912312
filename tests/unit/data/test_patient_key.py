"""Keys that name a patient without telling who it is."""

import hashlib
import hmac
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secondread.data.patient_key import load_secret, patient_key
from secondread.errors import ConfigError


def test_a_key_is_the_hmac_of_the_stripped_id() -> None:
    expected = hmac.new(b"secret", b"PAT-1", hashlib.sha256).hexdigest()[:32]
    assert patient_key(b"secret", "PAT-1") == patient_key(b"secret", " PAT-1 ") == expected


def test_another_secret_or_patient_gives_another_key() -> None:
    assert len({patient_key(b"a", "1"), patient_key(b"b", "1"), patient_key(b"a", "2")}) == 3


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    secret = load_secret(tmp_path / "home")
    assert len(secret) == 32
    assert load_secret(tmp_path / "home") == secret
    (path,) = (tmp_path / "home").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_homes_have_two_secrets(tmp_path: Path) -> None:
    assert load_secret(tmp_path / "a") != load_secret(tmp_path / "b")


def test_concurrent_first_uses_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(load_secret, [tmp_path / "home"] * 32))
    assert len(secrets) == 1
    assert len(list((tmp_path / "home").iterdir())) == 1


def test_a_secret_that_another_process_made_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        target.write_bytes(b"o" * 32)
        raise FileExistsError

    monkeypatch.setattr("os.link", link)
    assert load_secret(tmp_path) == b"o" * 32
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "patient_secret").write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"5 bytes instead of 32; restore it, or delete it"):
        load_secret(tmp_path)
