"""One family of errors: each says where, what, which value, and the next step."""

from typing import ClassVar


class SecondReadError(Exception):
    """Anything a user can mend; the command line prints its text without a stack trace."""


class ConfigError(SecondReadError):
    """A setting is unknown, out of range or does not fit the task."""


class SourceError(SecondReadError):
    """A folder or table of images cannot be read as any known layout."""


class StorageError(SecondReadError):
    """Files cannot be read or written where they lie, such as on an S3 server."""


class ExecutionError(SecondReadError):
    """Work cannot be done where it should be, such as on a Dask cluster."""


class SplitError(SecondReadError):
    """The images cannot be divided by patient as asked."""


class AuditError(SecondReadError):
    """The data would make a figure untrue: a leak between splits, or a class without images."""


class StoreError(SecondReadError):
    """A store is missing, of another version, or damaged."""


class TrainingError(SecondReadError):
    """A training cannot go on: its loss is no number any more."""


class BundleError(SecondReadError):
    """A model bundle is missing, damaged or does not fit its use."""


class ExplanationError(SecondReadError):
    """A method cannot explain this network, or the model does not answer the label."""


class TrackingError(SecondReadError):
    """A run, experiment or model is not in the tracking store as needed."""


class SearchError(SecondReadError):
    """A search's state cannot be reached, or is another search's."""


class RegistryError(SecondReadError):
    """A model cannot be promoted, rolled back or deleted as asked, or the history does not hold."""


class ImageRejected(SecondReadError):
    """One image cannot be used; its neighbours can.

    Args:
        rule: the stable name of the rule, such as `truncated`.
        reason: one sentence without anything that identifies a patient.
    """

    status: ClassVar = "rejected"

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageRejected"], tuple[str, str], dict[str, object]]:
        return type(self), (self.rule, self.reason), self.__dict__  # where in a worker it happened is a note


class OutOfScope(ImageRejected):
    """One image is sound, but of another kind than the model was made for; arguments as of `ImageRejected`."""

    status = "out_of_scope"


# Rules of `OutOfScope`; every other rule is about a file that cannot be used.
SCOPE_RULES = {"appearance", "body_part", "constant", "image_type", "modality", "object", "plane", "secondary_capture"}
SCOPE_RULES |= {"sop_class", "unit", "view"}
