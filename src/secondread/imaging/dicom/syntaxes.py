"""The transfer syntaxes that are read, and which of pydicom's decoders reads each."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pydicom import uid

from secondread.imaging.codestream import Frame, jpeg2000_frame, jpeg_frame


class Syntax(NamedTuple):
    """How the pixels of a transfer syntax are decoded.

    Args:
        plugins: names of pydicom's decoding plugins, in the order in which they are tried; none where nothing is
            compressed. They are named so that a package that is installed by chance never changes a pixel.
        frame: reads what a compressed image says of its own size; None where the pixels are the header's.
    """

    plugins: tuple[str, ...] = ()
    frame: Callable[[bytes], Frame] | None = None


_RAW = Syntax()
_LIBJPEG = Syntax(("pylibjpeg",), jpeg_frame)
_OPENJPEG = Syntax(("pylibjpeg",), jpeg2000_frame)
_CHARLS = Syntax(("pyjpegls",), jpeg_frame)

# Source: DICOM PS3.5 Annex A and PS3.6 Table A-1.
SYNTAXES: Mapping[str, Syntax] = {
    uid.ImplicitVRLittleEndian: _RAW,
    uid.ExplicitVRLittleEndian: _RAW,
    uid.DeflatedExplicitVRLittleEndian: _RAW,
    uid.ExplicitVRBigEndian: _RAW,
    uid.RLELossless: Syntax(("pydicom",)),
    uid.JPEGBaseline8Bit: Syntax(("pillow", "pylibjpeg"), jpeg_frame),  # libjpeg-turbo takes a quarter of the time
    uid.JPEGExtended12Bit: _LIBJPEG,
    uid.JPEGLossless: _LIBJPEG,
    uid.JPEGLosslessSV1: _LIBJPEG,
    uid.JPEGLSLossless: _CHARLS,
    uid.JPEGLSNearLossless: _CHARLS,
    uid.JPEG2000Lossless: _OPENJPEG,
    uid.JPEG2000: _OPENJPEG,
    uid.HTJ2KLossless: _OPENJPEG,
    uid.HTJ2KLosslessRPCL: _OPENJPEG,
    uid.HTJ2K: _OPENJPEG,
}
