"""DICOM files in and out: the only door to pydicom."""
