"""What a DICOM header says an image is of, held against what a model was made for. No value of a header is quoted."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset

from secondread.errors import ImageRejected, OutOfScope
from secondread.imaging.dicom.lean import Elements
from secondread.tasks import HeaderScope

# PS3.16 Annex L and what scanners write beside it; a word that is not among them names no known part.
_BODY_PARTS = """
    ABDOMEN ABDOMENPELVIS ACJOINT ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS CALCANEUS CALF CAROTID
    CEREBELLUM CHEST CHESTABDOMEN CHESTABDPELVIS CIRCLEOFWILLIS CLAVICLE COCCYX COLON CORONARYARTERY CSPINE CTSPINE
    DUODENUM ELBOW ESOPHAGUS EXTREMITY FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP
    HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LOWEREXTREMITY LSPINE LSSPINE LUMBARSPINE LUNG
    MANDIBLE MAXILLA MEDIASTINUM NECK NECKCHEST ORBIT PANCREAS PATELLA PELVIS PENIS PROSTATE RECTUM RIB SACRUM
    SCAPULA SCROTUM SELLA SHOULDER SIJOINT SINUS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TEMPORALBONE TESTIS THIGH
    THORAX THUMB THYMUS THYROID TIBIA TMJOINT TOE TSPINE TLSPINE UPPEREXTREMITY URETER URETHRA UTERUS VAGINA
    WHOLEBODY WRIST ZYGOMA
"""
BODY_PARTS = frozenset(_BODY_PARTS.split())
_CLASSES = {  # PS3.6 Table A-1: what an object may be, and what the standard calls it
    uid: (keyword, name) for uid, (name, kind, _, _, keyword) in UID_dictionary.items() if kind == "SOP Class"
}
_LEAST_AXIAL = 0.7  # cosine between the slice's normal and the body's long axis: a gantry tilts by at most 30 degrees


def check_scope(dcm: Dataset | Elements, modalities: Sequence[str], scope: HeaderScope) -> None:
    """Refuse an image of another kind by what its header says of it.

    Args:
        modalities: Modality (0008,0060) values that the model reads.
        scope: what else excludes an image; an element that is absent or empty excludes none.
    Raises:
        OutOfScope: `object`, `modality`, `sop_class`, `body_part`, `image_type`, `view` or `plane`.
        ImageRejected: `no_modality`: nobody can tell what the numbers mean.
    Source: DICOM PS3.3 C.12.1.1.1, C.7.3.1.1.1, C.7.6.1.1.2, C.8.7.1.1.1 and C.8.11.5 (views), C.7.6.2.1.1.
    """
    keyword, name = _CLASSES.get(_class_of(dcm), ("", ""))
    if name and "Image Storage" not in name:
        raise OutOfScope("object", "SOP Class UID (0008,0016) says a report, a plan or another object, not an image")
    modality = _words(dcm, "Modality")
    if not modality:
        raise ImageRejected("no_modality", "the file does not say what made it: Modality (0008,0060) is empty")
    if modality[0] not in modalities:
        raise OutOfScope("modality", f"the model reads {' and '.join(modalities)}; Modality (0008,0060) is another")
    if scope.sop_classes and name and keyword not in scope.sop_classes:
        raise OutOfScope("sop_class", "SOP Class UID (0008,0016) says a kind of image that the model was not made for")
    if scope.body_parts and _is_another_part(_body_part(dcm), scope.body_parts):
        raise OutOfScope("body_part", "Body Part Examined (0018,0015) is none that the model was made for")
    if not set(_words(dcm, "ImageType")).isdisjoint(scope.image_types):
        raise OutOfScope("image_type", "Image Type (0008,0008) says an overview scan or a computed picture")
    if scope.views and (not set(_view(dcm)).isdisjoint(scope.views) or _is_seen_from_the_side(dcm)):
        raise OutOfScope("view", "View Position (0018,5101) or Patient Orientation (0020,0020) says another view")
    if scope.axial and _is_not_axial(dcm):
        raise OutOfScope("plane", "Image Orientation (0020,0037) says a coronal or sagittal plane")


def _class_of(dcm: Dataset | Elements) -> str:
    """What a file says that it is; an index of other files (DICOMDIR) says it in its meta information alone."""
    said = dcm.get("SOPClassUID")
    if not said and isinstance(dcm, Dataset) and hasattr(dcm, "file_meta"):
        said = dcm.file_meta.get("MediaStorageSOPClassUID")
    return str(said or "").strip()


def _body_part(dcm: Dataset | Elements) -> list[str]:
    return _words(dcm, "BodyPartExamined") or _meanings(dcm, "AnatomicRegionSequence")


def _view(dcm: Dataset | Elements) -> list[str]:
    return _words(dcm, "ViewPosition") or _meanings(dcm, "ViewCodeSequence")


def _meanings(dcm: Dataset | Elements, keyword: str) -> list[str]:
    """What the codes of a sequence mean; elements that were read without pydicom hold none."""
    return [word for item in dcm.get(keyword) or () for word in _words(item, "CodeMeaning")]


def _is_seen_from_the_side(dcm: Dataset | Elements) -> bool:
    """Whether rows run to the front or back of the patient (PS3.3 C.7.6.1.1.1), as in a lateral view."""
    return _words(dcm, "PatientOrientation")[:1] in (["A"], ["P"])


def _is_another_part(said: Sequence[str], accepted: Sequence[str]) -> bool:
    """Vendors join and qualify the standard's words: HEAD_NECK, KNEE LEFT."""
    words = {word for value in said for word in (value, *re.split("[^A-Z]+", value))}
    return words.isdisjoint(accepted) and not words.isdisjoint(BODY_PARTS)


def _is_not_axial(dcm: Dataset | Elements) -> bool:
    """Source: DICOM PS3.3 C.7.6.2.1.1 (direction cosines of row and column; their cross product is the normal)."""
    directions = np.asarray(dcm.get("ImageOrientationPatient") or (), np.float64)
    if directions.shape != (6,):
        return False
    normal = np.cross(directions[:3], directions[3:])
    length = float(np.linalg.norm(normal))
    return length > 0 and abs(float(normal[2])) < _LEAST_AXIAL * length


def _words(dcm: Dataset | Elements, keyword: str) -> list[str]:
    """The values of an element in capitals, without empty ones; of one word also without what divides its parts."""
    value = dcm.get(keyword)
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return list(_spelled(values))


def _spelled(values: Sequence[object]) -> Iterator[str]:
    for value in values:
        text = str(value or "").strip().upper()
        if text:
            yield text
            joined = re.sub("[^A-Z0-9]", "", text)
            if joined != text:
                yield joined
