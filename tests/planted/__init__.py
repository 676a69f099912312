"""Recognisable values in every place where a source may name a patient, and the search that finds them anywhere."""
