"""Memory that a process frees and soon needs again, which glibc would give back to the kernel in between."""

import ctypes
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST = 32 << 20  # bytes: of one array; larger ones come from the kernel and go back to it
_KEPT = 64 << 20  # bytes that lie free at the end of the heap


@cache
def keep_freed_memory() -> None:
    """Let this process use an image's memory for the next image; elsewhere than on glibc nothing happens.

    The kernel clears every page that it hands out: for CT slices that took more time than all of their pixels.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
