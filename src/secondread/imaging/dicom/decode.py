"""Pixel data of every transfer syntax become numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from secondread.errors import ImageRejected
from secondread.imaging.codestream import Frame
from secondread.imaging.dicom.bits import Bits, Stored
from secondread.imaging.dicom.lean_compressed import CompressedFile
from secondread.imaging.dicom.syntaxes import SYNTAXES, Syntax


def decode_gray(dcm: Dataset) -> Stored:
    """Decode one gray image, or the indices of a palette.

    Raises:
        ImageRejected: `bits`, `transfer_syntax`, `codestream`, `truncated`, `scans` or `decode`.
    """
    bits = Bits(dcm.BitsAllocated, dcm.get("BitsStored"), dcm.get("HighBit"), dcm.get("PixelRepresentation"))
    syntax = _syntax_of(dcm)
    if syntax.frame is None:
        return Stored(_decoded(dcm, syntax, correct_unused_bits=False).astype(bits.kind, copy=False), bits)
    # A codec gives numbers, not cells (PS3.5 8.2): High Bit says nothing about them.
    return Stored(_decoded(dcm, syntax), Bits(bits.allocated, bits.allocated, None, bits.representation))


def decode_colour(dcm: Dataset) -> NDArray[np.uint8]:
    """Decode one picture of red, green and blue, shape (rows, columns, 3).

    Raises:
        ImageRejected: as `decode_gray`.
    """
    if dcm.BitsAllocated != 8:
        raise ImageRejected("bits", "only colour pictures of 8 bits are read")
    return _decoded(dcm, _syntax_of(dcm))


def decode_compressed(file: CompressedFile) -> Stored:
    """Decode one gray image whose header was read without pydicom; as `decode_gray`."""
    said = file.elements
    bits = Bits(said.BitsAllocated, said.BitsStored, said.get("HighBit"), said.PixelRepresentation)
    syntax = _syntax(file.syntax, file.encapsulated, Frame(said.Rows, said.Columns, 1))
    return Stored(_first(syntax, file.decoded), Bits(bits.allocated, bits.allocated, None, bits.representation))


def _syntax_of(dcm: Dataset) -> Syntax:
    syntax = dcm.file_meta.get("TransferSyntaxUID", "")
    return _syntax(syntax, dcm.PixelData, Frame(dcm.Rows, dcm.Columns, dcm.SamplesPerPixel))


def _syntax(uid: str, encapsulated: bytes, said: Frame) -> Syntax:
    """How to decode, once the compressed image agrees with what the header says of its size."""
    syntax = SYNTAXES.get(str(uid))  # two of them, say, in a damaged file
    if syntax is None:
        raise ImageRejected("transfer_syntax", "the file's transfer syntax is not read")
    if syntax.frame is not None and syntax.frame(get_frame(encapsulated, 0, number_of_frames=1)) != said:
        raise ImageRejected("codestream", "the compressed image and the header disagree about its dimensions")
    return syntax


def _decoded(dcm: Dataset, syntax: Syntax, **options: Any) -> NDArray[Any]:
    decoder = get_decoder(dcm.file_meta.TransferSyntaxUID)
    return _first(syntax, lambda plugin: decoder.as_array(dcm, index=0, decoding_plugin=plugin, **options)[0])


def _first(syntax: Syntax, decode: Callable[[str], NDArray[Any]]) -> NDArray[Any]:
    for plugin in syntax.plugins or ("",):
        try:
            return decode(plugin)
        except Exception:  # a decoder of any codec, on damaged data
            continue
    raise ImageRejected("decode", "the DICOM pixel data cannot be decoded")
