"""Run by `benchmarks/preprocess.py` in an environment of its own: what MONAI takes to read and window CT files.

    python benchmarks/peer_monai.py READER SIZE FILE...

Each line on stdin is one round; its reply is the processor's seconds for all files. One thread and no metadata kept:
the fastest that MONAI's documentation offers on a CPU; the three windows are cut from one tensor.
"""

import sys
import time

import torch  # type: ignore[import-not-found] # not of this project's environment
from monai.data import set_track_meta  # type: ignore[import-not-found] # not of this project's environment
from monai.transforms import (  # type: ignore[import-not-found] # not of this project's environment
    Compose,
    EnsureChannelFirst,
    LoadImage,
    Resize,
    ScaleIntensityRange,
)

WINDOWS = ((40, 80), (80, 200), (40, 380))


def main(reader: str, size: int, files: list[str]) -> None:
    """Answer rounds until stdin ends."""
    torch.set_num_threads(1)
    set_track_meta(False)
    read = Compose([LoadImage(reader=reader, image_only=True), EnsureChannelFirst(channel_dim="no_channel")])
    windows = [
        ScaleIntensityRange(center - width / 2, center + width / 2, 0, 255, clip=True) for center, width in WINDOWS
    ]
    fit = Resize((size, size), mode="area")
    for _ in sys.stdin:
        start = time.process_time()
        for file in files:
            image = read(file)
            fit(torch.cat([window(image) for window in windows])).to(torch.uint8).numpy()
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
