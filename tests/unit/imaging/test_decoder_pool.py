"""Files of strangers are decoded to the same pixels, and no file hangs or ends the process that asks."""

import gc
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from decoders import HEAD, PICTURES, crowded, end, forks, jpeg_2000
from PIL import Image
from pydicom import dcmread

from secondread.errors import ImageRejected, OutOfScope
from secondread.imaging.decoder_pool import DecoderPool, Patience

CODEC = """
import ctypes
import os

__version__ = "2.5.0"

def decode_pixel_data(*_, **__):
    {harm}

decode = encode_array = encode_buffer = encode_pixel_data = decode_pixel_data
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(PICTURES, seconds=2)
    yield pool
    end(pool)


def picture(kind: str, **how: Any) -> bytes:
    gray = np.random.default_rng(0).integers(0, 256, (96, 80), np.uint8)
    saved = io.BytesIO()
    Image.fromarray(gray).save(saved, kind, **how)
    return saved.getvalue()


@pytest.mark.parametrize(
    "file",
    [
        HEAD,
        jpeg_2000(),
        picture("PNG"),
        picture("JPEG"),
        picture("JPEG", progressive=True),
        picture("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    ],
    ids=["dicom", "jpeg 2000", "png", "jpeg", "progressive", "exif"],
)
def test_pixels_and_display_are_the_same_to_the_last_bit(pool: DecoderPool, file: bytes) -> None:
    np.testing.assert_array_equal(pool.pixels(file, Patience()), PICTURES.pixels(file))
    np.testing.assert_array_equal(pool.display(file, Patience()), PICTURES.display(file))


def test_what_is_plainly_safe_starts_no_process() -> None:
    pool = DecoderPool(PICTURES)
    for file in (HEAD, picture("PNG"), picture("JPEG")):
        pool.pixels(file, Patience())
        pool.display(file, Patience())
    assert pool._decoders == []


def test_a_reason_comes_back_as_it_was_given(pool: DecoderPool) -> None:
    cut = jpeg_2000()[:-40]
    with pytest.raises(ImageRejected) as here:
        PICTURES.pixels(cut)
    with pytest.raises(ImageRejected) as there:
        pool.pixels(cut, Patience())
    assert (there.value.rule, there.value.reason) == (here.value.rule, here.value.reason)
    assert type(there.value) is ImageRejected
    xray = dcmread(io.BytesIO(jpeg_2000()))
    xray.Modality = "DX"
    saved = io.BytesIO()
    xray.save_as(saved)
    with pytest.raises(OutOfScope, match="the model reads CT; Modality"):
        pool.pixels(saved.getvalue(), Patience())


def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_decoded(pool: DecoderPool) -> None:
    patience, began = Patience(), time.monotonic()
    pool.pixels(jpeg_2000(), patience)
    before = forks(pool)
    with pytest.raises(ImageRejected, match="not decoded within 2 seconds") as caught:
        pool.pixels(crowded(), patience)
    assert caught.value.rule == "timeout"
    assert patience.seconds < 10 - 2
    assert time.monotonic() - began < 60
    np.testing.assert_array_equal(pool.pixels(jpeg_2000(), patience), PICTURES.pixels(jpeg_2000()))
    assert len(before) == len(forks(pool) - before) == 1
    assert not psutil.pid_exists(before.pop())


def test_a_second_process_starts_when_the_first_is_busy_and_no_third() -> None:
    pool = DecoderPool(PICTURES)
    pool.start()
    pool.pixels(jpeg_2000(), Patience())
    assert len(pool._decoders) == 1
    with pool._one(Patience()) as first, pool._one(Patience()) as second:
        assert first is not second
        assert len(pool._decoders) == 2
    for _ in range(3):
        pool.pixels(jpeg_2000(), Patience())
    assert len(pool._decoders) == 2
    end(pool)


def test_files_that_take_too_long_cannot_hold_a_request_for_long(pool: DecoderPool) -> None:
    spent = Patience(0)
    with pytest.raises(ImageRejected, match="other files of the request took too long") as caught:
        pool.pixels(jpeg_2000(), spent)
    assert caught.value.rule == "timeout"
    assert pool.pixels(HEAD, spent).shape == (64, 64, 3)  # plainly safe: it needs no patience


def test_a_decoder_has_little_memory_and_leaves_no_dump_of_a_patients_image(pool: DecoderPool) -> None:
    pool.pixels(jpeg_2000(), Patience())
    (process,) = map(psutil.Process, forks(pool))
    assert process.rlimit(psutil.RLIMIT_AS)[0] < process.memory_info().vms + 3 * 2**30
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)


@pytest.mark.parametrize("harm", ["os.abort()", "ctypes.string_at(0)"])
def test_a_file_that_ends_its_decoder_is_rejected(harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = tmp_path / "openjpeg"  # found before the real one by the process that decodes
    codec.mkdir()
    (codec / "__init__.py").write_text(CODEC.format(harm=harm))
    monkeypatch.syspath_prepend(tmp_path)
    pool = DecoderPool(PICTURES, seconds=20)
    with pytest.raises(ImageRejected) as caught:
        pool.pixels(jpeg_2000(), Patience())
    assert caught.value.rule == "decoder_failed"
    assert pool.pixels(picture("JPEG", progressive=True), Patience()).shape == (64, 64, 3)
    end(pool)


def test_a_decoder_ends_with_the_process_that_started_it() -> None:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        pool = DecoderPool(PICTURES)
        pool.start()
        os.write(write, " ".join(str(decoder._process.pid) for decoder in pool._decoders).encode())
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    decoders = [int(word) for word in os.read(read, 100).split()]
    os.close(read)
    os.close(write)
    assert len(decoders) == 1
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in decoders):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_pool_that_is_gone_leaves_no_process() -> None:
    pool = DecoderPool(PICTURES)
    pool.start()
    decoders = [decoder._process.pid for decoder in pool._decoders]
    del pool
    gc.collect()
    assert not any(psutil.pid_exists(pid) for pid in decoders)


def test_a_busy_pool_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secondread.imaging.decoder_pool._PROCESSES", 0)
    with pytest.raises(ImageRejected, match="every decoder is busy") as caught:
        DecoderPool(PICTURES).pixels(jpeg_2000(), Patience(wait=0.01))
    assert caught.value.rule == "busy"


def test_a_decoder_leaves_no_bytecode_where_its_code_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))
    pool = DecoderPool(None)
    with pytest.raises(ImageRejected):
        pool.header(b"no DICOM", Patience())
    assert list(tmp_path.rglob("*.pyc")) == []
