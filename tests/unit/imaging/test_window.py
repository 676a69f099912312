"""CT windows, by the formula and by the table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secondread.config import WINDOWS, Window
from secondread.imaging.window import apply_window, window_stack

windows = st.builds(Window, center=st.floats(-1000, 3000), width=st.floats(1.5, 4000))


def test_a_window_maps_its_center_to_mid_gray() -> None:
    # (40 - 39.5) / 79 + .5, by PS3.3 C.11.2.1.2.1
    assert apply_window(np.array([40]), WINDOWS["brain"])[0] == np.float32(0.5 / 79 + 0.5)


def test_a_window_is_black_and_white_exactly_at_its_ends() -> None:
    # PS3.3's own example: center 2048, width 4096 maps 0 to black and 4095 to white.
    window = Window(center=2048, width=4096)
    assert apply_window(np.array([-1, 0, 4095, 4096]), window).tolist() == [0, 0, 1, 1]


def test_the_brain_window_holds_0_to_79() -> None:
    shown = apply_window(np.array([-5, 0, 1, 78, 79, 90]), WINDOWS["brain"])
    assert np.array_equal(shown, np.array([0, 0, 1 / 79, 78 / 79, 1, 1], np.float32))


@settings(max_examples=50, deadline=None)
@given(st.lists(windows, min_size=1, max_size=4))
def test_the_table_gives_the_rounded_formula_for_every_value(several: list[Window]) -> None:
    every_value = np.arange(-(2**15), 2**15).astype(np.int16).reshape(256, 256)
    by_formula = [np.rint(apply_window(every_value, window) * 255) for window in several]
    stack = window_stack(every_value, several)
    assert stack.dtype == np.uint8
    assert np.array_equal(stack, np.stack(by_formula, axis=-1))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_stack_holds_a_window_a_channel_in_order(count: int) -> None:
    several = [Window(center=center, width=100) for center in (100, 200, 300, 400)][:count]
    hounsfield = np.full((64, 80), 250, np.int16)  # the ends are 50..149, 150..249, 250..349, 350..449
    stack = window_stack(hounsfield, several)
    assert stack.shape == (64, 80, count)
    assert stack.flags.c_contiguous
    assert stack[5, 7].tolist() == [255, 255, 0, 0][:count]


def test_fractions_of_a_hounsfield_unit_are_kept() -> None:
    shown = window_stack(np.array([[39.5, 39.6]], np.float32), [Window(center=40, width=11)])
    assert shown.ravel().tolist() == [128, 130]  # 255 x .5 = 127.5, to even; 255 x .51 = 130.05
