"""Three kinds of pneumonia, drawn as the share of the lungs' air that is lost."""

import numpy as np

from secondread.data.phantom.texture import Field, between, clouds, cover
from secondread.data.phantom.thorax import Frame, Lungs, oval


def draw_opacity(rng: np.random.Generator, kind: str, frame: Frame, lungs: Lungs) -> Field:
    """Draw one pneumonia inside the lungs.

    Args:
        kind: `lobar` with air bronchograms, `patchy`, or `interstitial`.
    Returns:
        Share of the lung's air that is lost, in [0, 1].
    """
    texture = np.float32(1) + np.float32(0.22) * clouds(rng, frame.shape, 22)
    if kind == "lobar":
        amount = _lobe(rng, frame) * (1 - np.float32(0.5) * lungs.vessels)
    elif kind == "patchy":
        amount = _patches(rng, frame)
    else:
        amount = _net(rng, frame)
    return between(amount * texture, 0, 1) * lungs.coverage


def _lobe(rng: np.random.Generator, frame: Frame) -> Field:
    """One lobe's part, sharp where it meets the fissure."""
    side = float(rng.choice([-1, 1]))
    upper = rng.random() < 0.4
    center = (
        side * float(rng.uniform(0.45, 0.62)),
        float(rng.uniform(-0.55, -0.35) if upper else rng.uniform(0.1, 0.4)),
    )
    axes = (float(rng.uniform(0.3, 0.5)), float(rng.uniform(0.25, 0.42)))
    edge = float(rng.uniform(-0.15, 0.0)) if upper else float(rng.uniform(-0.1, 0.1))
    tilt = np.abs(frame.x) * np.float32(rng.uniform(-0.2, 0.25))
    beyond = (edge + tilt - frame.y) if upper else (frame.y - edge - tilt)
    return cover(oval(frame, center, axes, 0.0), 0.6) * cover(beyond, 0.03) * np.float32(rng.uniform(0.65, 0.95))


def _patches(rng: np.random.Generator, frame: Frame) -> Field:
    """Some soft patches, mostly in the lower half, in one or both lungs."""
    clear = np.ones(frame.shape, np.float32)
    sides = [-1, 1] if rng.random() < 0.6 else [int(rng.choice([-1, 1]))]
    for _ in range(int(rng.integers(3, 8))):
        center = (float(rng.choice(sides) * rng.uniform(0.25, 0.75)), float(rng.uniform(-0.4, 0.55)))
        reach = float(rng.uniform(0.1, 0.22))
        away = ((frame.x - np.float32(center[0])) ** 2 + (frame.y - np.float32(center[1])) ** 2) / np.float32(reach**2)
        clear *= 1 - np.float32(rng.uniform(0.5, 0.8)) * np.exp(-away)
    return 1 - clear


def _net(rng: np.random.Generator, frame: Frame) -> Field:
    """A net of lines and haze about both hila."""
    lines = _mesh(rng, frame, 0.055) * np.float32(0.6) + _mesh(rng, frame, 0.03) * np.float32(0.5)
    reach = float(rng.uniform(0.45, 0.7))
    across = (np.abs(frame.x) - np.float32(0.38)) * np.float32(1 / reach)
    down = (frame.y - np.float32(0.05)) * np.float32(1 / (1.15 * reach))
    near: Field = np.exp(-across * across - down * down)
    return near * (np.float32(rng.uniform(0.25, 0.45)) + np.float32(rng.uniform(0.35, 0.55)) * lines)


def _mesh(rng: np.random.Generator, frame: Frame, width: float) -> Field:
    """Fine lines about `width` apart, where broad noise crosses zero."""
    noise = clouds(rng, frame.shape, max(8, round(frame.shape[1] * frame.pixel / width)))
    return between(1 - np.abs(noise) * np.float32(1.4), 0, 1)
