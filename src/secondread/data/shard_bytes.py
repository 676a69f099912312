"""The bytes of a shard, an .npy file, put together in place."""

import mmap
from io import BytesIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

HEADER = 128  # bytes; numpy pads it so that the count of images does not change its length


class ShardBytes:
    """An array of images that grows up to a number of them, as `np.save` would write it.

    Args:
        most: images.
        shape: of one image.
    """

    def __init__(self, most: int, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._count = 0
        # The kernel's, to which it goes back at once: among what is freed and kept it would leave a hole.
        memory = mmap.mmap(-1, HEADER + most * int(np.prod(shape)), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)  # or a third of a raw file's time goes into pages
        self._bytes = np.frombuffer(memory, np.uint8)
        self._images = self._bytes[HEADER:].reshape(most, *shape)

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Copy one more image."""
        self._images[self._count] = image
        self._count += 1

    def written(self) -> memoryview:
        """The file's bytes."""
        header = BytesIO()
        described = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._shape)}
        npy.write_array_header_1_0(header, described)
        self._bytes[:HEADER] = np.frombuffer(header.getvalue(), np.uint8)
        return self._bytes[: HEADER + self._images[: self._count].size].data
