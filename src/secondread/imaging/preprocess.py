"""The one function that training and serving call: a file's bytes become model input."""

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from secondread.config import WINDOWS, PreprocessSettings, Unit, Window
from secondread.errors import OutOfScope
from secondread.imaging.dicom.read import read_dicom
from secondread.imaging.limits import check
from secondread.imaging.picture import Picture, UInt8Image
from secondread.imaging.raster import read_raster
from secondread.imaging.window import window_stack
from secondread.storage import sha256_of
from secondread.tasks import HeaderScope, Task

_THUMBNAIL = 32  # pixels a side
_MOST_DISPLAYED = 2048  # pixels a side of a picture for a person: few screens show more


class Frame(NamedTuple):
    """Which rows and columns of the model's input hold the image; the rest is black."""

    top: int
    left: int
    rows: int
    columns: int


class Preprocess(BaseModel):
    """How one image becomes model input; it travels inside the bundle.

    Args:
        unit: what the model was trained on: Hounsfield units through windows, or display values.
        size: rows and columns of the model's input.
        channels: channels of the model's input.
        windows: one a channel where the unit is HU, none where it is display.
        aspect: `squash` stretches to a square; `keep` pads with black.
        display_window: what a CT DICOM is shown through where the unit is display; None refuses it.
        modalities: DICOM Modality (0008,0060) values that are accepted.
        scope: what else a DICOM header may not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: Unit
    size: int = Field(ge=1)
    channels: int = Field(ge=1, le=4)
    windows: tuple[Window, ...] = ()
    aspect: Literal["squash", "keep"] = "squash"
    display_window: Window | None = None
    modalities: tuple[str, ...]
    scope: HeaderScope = HeaderScope()

    @classmethod
    def build(cls, task: Task, settings: PreprocessSettings, unit: Unit, display_window: Window | None) -> "Preprocess":
        """Combine what the task, the configuration and the source say.

        Args:
            unit: of the source's images.
            display_window: that the source's pictures were made with, where they are windowed CT.
        """
        return cls(
            unit=unit,
            size=settings.size,
            channels=settings.channels,
            windows=settings.windows if unit == "HU" else (),
            aspect=settings.aspect,
            display_window=display_window if unit == "display" else None,
            modalities=task.modalities,
            scope=task.scope,
        )

    @model_validator(mode="after")
    def _windows_fit_the_unit(self) -> "Preprocess":
        expected = self.channels if self.unit == "HU" else 0
        if len(self.windows) != expected:
            raise ValueError(f"unit {self.unit} with {self.channels} channels takes {expected} windows")
        return self

    def pixels(self, data: bytes) -> UInt8Image:
        """Make model input of a DICOM, PNG or JPEG file.

        Returns:
            uint8, shape (size, size, channels); read-only where one channel is repeated.
        Raises:
            ImageRejected: the file breaks a rule of `limits`, `raster` or `dicom.read`.
            OutOfScope: it is of another kind: a rule of `dicom.scope`, `unit`, or `constant`.
        """
        return self.expand(self._fit(self._shown(self._open(data, self.size))))

    def display(self, data: bytes) -> UInt8Image:
        """Make the picture that a person looks at of a file, through the first window where the unit is HU.

        Returns:
            uint8, shape (height, width) as the file has it, or smaller in proportion: at most 2048 each.
        Raises:
            ImageRejected: as `pixels` does.
        """
        shown = np.ascontiguousarray(self._shown(self._open(data, _MOST_DISPLAYED))[..., :1])
        share = min(1.0, _MOST_DISPLAYED / max(shown.shape))
        return _resize(shown, *(round(share * length) for length in shown.shape[:2]))[..., 0]

    @property
    def repeats(self) -> bool:
        """Whether all channels are one gray image, which is then stored once."""
        return self.unit == "display" and self.channels > 1

    @property
    def stored_channels(self) -> int:
        """Channels that a store keeps."""
        return 1 if self.repeats else self.channels

    def stored(self, pixels: UInt8Image) -> UInt8Image:
        """Drop repeated channels: a view of shape (..., stored_channels)."""
        return pixels[..., : self.stored_channels]

    def expand(self, stored: UInt8Image) -> UInt8Image:
        """Repeat what `stored` dropped: a view of shape (..., channels)."""
        return np.broadcast_to(stored, (*stored.shape[:-1], self.channels)) if self.repeats else stored

    def stack(self, images: Sequence[UInt8Image]) -> UInt8Image:
        """Put model inputs together: shape (n, size, size, channels)."""
        stored = np.stack([self.stored(image) for image in images])
        if not self.repeats:
            return stored
        # numpy would copy a repeated channel number by number.
        stacked: UInt8Image = cv2.merge([stored.reshape(-1, self.size)] * self.channels)
        return stacked.reshape(*stored.shape[:-1], self.channels)

    def frame(self, height: int, width: int) -> Frame:
        """Say where an image of that many rows and columns lies in the model's input."""
        if self.aspect == "squash":
            return Frame(0, 0, self.size, self.size)
        share = self.size / max(height, width)
        rows, columns = max(1, round(height * share)), max(1, round(width * share))
        return Frame((self.size - rows) // 2, (self.size - columns) // 2, rows, columns)

    def touched(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Say which pixels of the model's input hold a part of what a mask of the image shows.

        Args:
            mask: shape (height, width), of the file.
        Returns:
            shape (size, size).
        """
        found: NDArray[np.bool_] = self._fit(mask[..., np.newaxis].astype(np.uint8) * np.uint8(255))[..., 0] > 0
        return found

    def way(self, data: bytes) -> list[tuple[str, NDArray[Any]]]:
        """Every stage between the file and the model, named, for a figure.

        Returns:
            images of shape (height, width), and last the model's input, (size, size, channels).
        Raises:
            ImageRejected: as `pixels` does.
        """
        picture = self._open(data, self.size)
        shown = self._shown(picture)
        first = "stored pixels" if picture.modality else "gray"
        stages: list[tuple[str, NDArray[Any]]] = [(first, picture.stored)]
        if picture.unit == "HU":
            windows = self.windows or (self.display_window,)
            stages.append(("Hounsfield units", picture.values))
            stages += [(_window_name(window), shown[..., n]) for n, window in enumerate(windows) if window]
        elif picture.modality:
            stages.append(("display values", picture.values))
        return [*stages, ("model input", self.expand(self._fit(shown)))]

    @property
    def digest(self) -> str:
        """Hex digest of the settings; a store made with others is another store."""
        return sha256_of(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode())

    def _open(self, data: bytes, needed: int) -> Picture:
        kind = check(data)
        if kind != "dicom":
            gray = read_raster(data, kind, needed)
            if gray.min() == gray.max():
                raise OutOfScope("constant", "the picture is blank: every pixel has the same value")
            return Picture(gray, "display", stored=gray)
        return read_dicom(data, self.modalities, self.scope)

    def _shown(self, picture: Picture) -> UInt8Image:
        """Display values at the file's own size, shape (height, width, stored_channels)."""
        if picture.unit == "display" == self.unit:
            return picture.values[..., np.newaxis]
        if picture.unit == "display":
            raise OutOfScope("unit", "the model reads Hounsfield units; send the DICOM file, not a picture of it")
        if self.unit == "HU":
            return window_stack(picture.values, self.windows)
        if self.display_window is None:
            raise OutOfScope("unit", "the model reads pictures of an unknown CT window; send such a picture")
        return window_stack(picture.values, (self.display_window,))

    def _fit(self, shown: UInt8Image) -> UInt8Image:
        """Resize to the model's size; windows come first, for they are not linear: shape (size, size, channels)."""
        top, left, rows, columns = self.frame(*shown.shape[:2])
        resized = _resize(shown, rows, columns)
        if resized.shape[:2] == (self.size, self.size):
            return resized
        fitted = np.zeros((self.size, self.size, shown.shape[2]), np.uint8)
        fitted[top : top + rows, left : left + columns] = resized
        return fitted


def thumbnail(pixels: UInt8Image) -> UInt8Image:
    """Make the small gray image by which the audit finds near duplicates.

    Args:
        pixels: stored pixels, shape (height, width, channels).
    Returns:
        uint8, shape (32, 32), the mean of the channels.
    """
    small = _resize(pixels, _THUMBNAIL, _THUMBNAIL)
    if small.shape[-1] == 1:
        return small[..., 0]
    if small.shape[-1] == 3:  # thirds never lie halfway: the nearest is that of one more, rounded down
        thirds: UInt8Image = ((small.sum(axis=-1, dtype=np.uint16) + 1) // 3).astype(np.uint8)
        return thirds
    gray: UInt8Image = np.rint(small.mean(axis=-1)).astype(np.uint8)
    return gray


def _resize(image: UInt8Image, rows: int, columns: int) -> UInt8Image:
    """Shrink by averaging areas, which does not alias; enlarge by interpolating."""
    height, width, channels = image.shape
    smaller = min(width, columns), min(height, rows)
    if smaller != (width, height):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (columns, rows):
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    resized: UInt8Image = image.reshape(rows, columns, channels)  # cv2 drops a single channel
    return resized


def _window_name(window: Window) -> str:
    names = [name for name, known in WINDOWS.items() if known == window]
    return f"{names[0] if names else 'window'} {window.center:g}/{window.width:g}"
