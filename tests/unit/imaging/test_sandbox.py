"""A job gets what its files hold, whoever ends a decoder, and a reason where a file did."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from decoders import HEAD, PICTURES, crowded_before_the_patient, end, forks, jpeg_2000

from secondread.data.sources.headers import headers_of
from secondread.errors import ImageRejected
from secondread.imaging import sandbox
from secondread.imaging.decoder_pool import DecoderLost, DecoderPool
from secondread.imaging.dicom.read import read_header
from secondread.imaging.sandbox import safe_header, safe_pixels
from secondread.storage import open_folder


@pytest.fixture(scope="module", autouse=True)
def _of_its_own() -> Iterator[None]:
    yield
    sandbox._pool.cache_clear()


def test_a_job_gets_the_same_pixels_and_headers() -> None:
    np.testing.assert_array_equal(safe_pixels(jpeg_2000(), PICTURES), PICTURES.pixels(jpeg_2000()))
    assert safe_header(HEAD) == read_header(HEAD)


def test_a_header_of_very_many_elements_ends_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pool = DecoderPool(None, seconds=0.05, wall_seconds=60)
    monkeypatch.setattr("secondread.imaging.sandbox._pool", lambda _: pool)
    (tmp_path / "a.dcm").write_bytes(crowded_before_the_patient())
    [answer] = headers_of(open_folder(tmp_path), ["a.dcm"])
    assert isinstance(answer, ImageRejected)
    assert answer.rule == "timeout"
    assert safe_header(HEAD) == read_header(HEAD)
    end(pool)


def test_a_decoder_that_somebody_else_ends_costs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(PICTURES)
    monkeypatch.setattr("secondread.imaging.sandbox._pool", lambda _: pool)
    expected = safe_pixels(jpeg_2000(), PICTURES)
    for process in (*forks(pool), *(decoder._process.pid for decoder in pool._decoders)):
        os.kill(process, signal.SIGKILL)
        np.testing.assert_array_equal(safe_pixels(jpeg_2000(), PICTURES), expected)
    assert all(psutil.pid_exists(fork) for fork in forks(pool))
    end(pool)


def test_a_machine_without_a_decoder_stops_the_job_instead_of_putting_files_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secondread.imaging.decoder_pool._START", "raise SystemExit")
    pool = DecoderPool(PICTURES)
    monkeypatch.setattr("secondread.imaging.sandbox._pool", lambda _: pool)
    with pytest.raises(DecoderLost, match="give the machine more memory"):
        safe_pixels(jpeg_2000(), PICTURES)
    end(pool)
