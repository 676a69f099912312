"""What all pages share: one look, one file that needs nothing else, and how numbers are printed."""

import base64
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined


class Picture(NamedTuple):
    """A figure inside a page."""

    caption: str
    source: str  # a data URI


def picture(caption: str, png: bytes) -> Picture:
    """Put a PNG into the page itself."""
    return Picture(caption, f"data:image/png;base64,{base64.b64encode(png).decode()}")


def environment(folder: Path) -> Environment:
    """What renders the templates of a folder; they extend `page.html.jinja`."""
    found = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"decimal": decimal, "signed": signed, "moment": moment, "sentence": sentence}
    return found


def sentence(text: str) -> str:
    """A text with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def moment(at: str) -> str:
    """A time of ISO 8601 as people write it."""
    found = datetime.fromisoformat(at)
    return f"{found.day} {found:%B %Y, %H:%M} UTC"


def decimal(value: float) -> str:
    """Three places, without the leading zero of a share; a true minus sign."""
    text = f"{value:.3f}".replace("-", "\N{MINUS SIGN}")
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def signed(value: float) -> str:
    """A difference, with its sign, which 0 has not."""
    return ("+" if round(value, 3) > 0 else "") + decimal(round(value, 3) + 0.0)
