"""The words that are planted: each place has its own, and all of them share a stem that nothing else has."""

LETTERS = "Qvyxzul"
DIGITS = "187602135"
CYRILLIC = "Щяжюкъ"
STEMS = (LETTERS, DIGITS, CYRILLIC)
BIRTH_DATE = "18760213"


def word(place: str) -> str:
    """The word of a place, without spaces: 9 letters, which fit the shortest text of DICOM (16 bytes)."""
    return LETTERS + _letters(place)


def number(place: str) -> str:
    """The same in digits, for identifiers that have nothing else: 13 of them."""
    return DIGITS + "".join(f"{ord(letter) - ord('a'):02d}" for letter in _letters(place))


def uid(place: str) -> str:
    """The same as a UID."""
    return f"1.2.826.0.1.3680043.8.498.{number(place)}"


def _letters(place: str) -> str:
    """Two letters that only this place has."""
    _PLACES.setdefault(place, len(_PLACES))
    first, second = divmod(_PLACES[place], 26)
    return f"{chr(ord('a') + first)}{chr(ord('a') + second)}"


_PLACES: dict[str, int] = {}
