"""Sex and age as sources write them -> subgroups coarse enough to share."""

import re

_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
AGE_BANDS = {"0-17": 18, "18-39": 40, "40-64": 65, "65+": 121}  # by name, the age in years that a band ends before
# PS3.5 6.2, AS: three digits and D, W, M or Y. RSNA's chest X-rays leave the letter out, tables have decimals.
_AGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)([dwmy]?)")
_PER_YEAR = {"d": 365.25, "w": 52.18, "m": 12.0, "y": 1.0, "": 1.0}


def sex_of(text: str) -> str:
    """M, F or O (DICOM PS3.3 C.7.1.1, Patient's Sex), or "" for anything else."""
    return _SEXES.get(text.strip().lower(), "")


def age_band(text: str) -> str:
    """The band of `AGE_BANDS` that an age falls into, or "" for anything that is no age.

    Args:
        text: years (`44`, `0.58`), DICOM's age string (`044Y`, `007M`), or a band itself.
    """
    plain = text.strip().lower()
    if plain in AGE_BANDS:
        return plain
    age = _AGE.fullmatch(plain)
    if age is None:
        return ""
    years = float(age[1]) / _PER_YEAR[age[2]]
    return next((band for band, end in AGE_BANDS.items() if years < end), "")
