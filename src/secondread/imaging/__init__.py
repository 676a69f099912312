"""One image: bytes to pixels with a unit, to model input."""
