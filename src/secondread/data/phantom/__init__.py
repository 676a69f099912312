"""Synthetic patients: the embedded default and the images of the tests."""
