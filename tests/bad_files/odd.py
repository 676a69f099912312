"""What is no image at all, what is no plain file, and names that break what handles them."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from bad_files.sound import PICTURES, SOUND, xray

_EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
NAMES = {  # of sound files
    "unicode": "R\u00f6ntgen \u80f8\u90e8 \U0001fa7b.png",
    "right_to_left": "\u202egnp.\u05d0.png",
    "newline": "two\nlines.png",
    "comma and quotes": "a,\"b\",'c'.png",
    "leading dash": "-rf.png",
    "formula": "=1+1.png",
    "long": "n" * 251 + ".png",
    "not UTF-8": os.fsdecode(b"caf\xe9.png"),
    "spaces": "  .png",
    "percent": "%s%n{0}.png",
}


def strange_files() -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of files that are no image that is read."""
    yield "empty.dcm", b""
    yield "empty.png", b""
    yield "empty.jpg", b""
    yield "one_byte.dcm", b"D"
    yield "only_a_preamble.dcm", bytes(132)
    yield "only_a_mark.dcm", bytes(128) + b"DICM"
    yield "no_preamble.dcm", xray()[132:]
    yield "text.dcm", b"This is no image.\n" * 100
    yield "page.png", b"<html><body>404</body></html>"
    yield "archive.dcm", _EMPTY_ZIP
    yield "document.jpg", b"%PDF-1.7\n" + bytes(500)
    yield "animation.png", b"GIF89a" + bytes(500)
    yield "zeros.dcm", bytes(100_000)
    yield "ones.jpg", b"\xff" * 100_000
    yield "noise.png", PICTURES["png"][:8] + os.urandom(5000)
    for name, data in SOUND.items():
        yield f"twice_the_mark_{name}", data[:8] + data
        yield f"half_of_zeros_{name}", data[: len(data) // 2] + bytes(len(data) // 2)


def make_irregular(folder: Path, sound: Path) -> list[str]:
    """Make links, a pipe, a socket and a folder that bear names of images; give these."""
    links = {"link.png": sound, "dangling.png": folder / "nothing", "device.png": Path("/dev/zero"), "loop.png": folder}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "itself.png").symlink_to(folder / "itself.png")
    os.mkfifo(folder / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)  # a socket's address has 107 bytes at most
        try:
            listening.bind("socket.dcm")
        finally:
            os.chdir(here)
    return [*links, "itself.png", "pipe.dcm", "socket.dcm"]
