"""A shard is the file that numpy writes, byte by byte."""

from io import BytesIO

import numpy as np
import pytest

from secondread.data.shard_bytes import ShardBytes


@pytest.mark.parametrize(("most", "count"), [(3, 3), (2000, 1), (5, 0)])
def test_a_shard_is_what_numpy_saves(most: int, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    shard = ShardBytes(most, (4, 4, 3))
    for image in images:
        shard.add(image)
    saved = BytesIO()
    np.save(saved, images)
    assert bytes(shard.written()) == saved.getvalue()
