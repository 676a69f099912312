"""Enhanced objects say in sequences, frame by frame, what others say once: of an only frame it is the file's."""

from collections.abc import Mapping

from pydicom.dataset import Dataset

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
FUNCTIONAL_GROUPS = (_SHARED, _PER_FRAME)
_MACROS: Mapping[str, tuple[str, ...]] = {
    "PlanePositionSequence": ("ImagePositionPatient",),  # PS3.3 C.7.6.16.2.3
    "PlaneOrientationSequence": ("ImageOrientationPatient",),  # C.7.6.16.2.4
    "FrameAnatomySequence": ("AnatomicRegionSequence",),  # C.7.6.16.2.8
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "RescaleType"),  # C.7.6.16.2.9
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),  # C.7.6.16.2.10
}


def tell_of_only_frame(dcm: Dataset) -> None:
    """Put what the functional groups say of the only frame where a file without them says it.

    A file of several frames is left as it is: it has no one place or slope.

    Source: DICOM PS3.3 C.7.6.16.1.1 and C.7.6.16.1.2 (a macro is in the shared groups or in the frame's own, not both).
    """
    present = [groups for groups in FUNCTIONAL_GROUPS if groups in dcm]
    if not present or int(dcm.get("NumberOfFrames") or 1) != 1:
        return
    for groups in present:
        for group in _first(dcm, groups):
            for macro, keywords in _MACROS.items():
                for said in _first(group, macro):
                    _copy(keywords, said, dcm)


def _first(dcm: Dataset, sequence: str) -> list[Dataset]:
    return list(dcm.get(sequence) or ())[:1]


def _copy(keywords: tuple[str, ...], said: Dataset, dcm: Dataset) -> None:
    for keyword in keywords:
        if keyword in said:
            dcm[keyword] = said[keyword]
