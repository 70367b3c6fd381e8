"""The project's exceptions: every failure that a user can cause becomes one of these.

A message names the file, the line or annotation id, the value found, and what to do about it.
Entry points print the message without a stack trace and leave with `exit_code`.
"""


class ProjectError(Exception):
    """Something failed that the user can act on."""

    exit_code = 1


class UsageError(ProjectError):
    """Wrong use: an unknown flag, a missing path, settings that contradict each other."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or flag that cannot be accepted."""


class AnnotationError(ProjectError):
    """Annotations that cannot be read, or that contradict themselves."""


class ImageError(ProjectError):
    """An image that cannot be read, is truncated, or is larger than allowed."""


class DatasetError(ProjectError):
    """A data set or MindRecord that fails its audit, is stale, half-written or foreign."""


class CheckpointError(ProjectError):
    """A checkpoint that is damaged or does not belong to the network."""


class TrainingError(ProjectError):
    """Training cannot continue (non-finite losses, a dead process, a full disk)."""


class StorageError(ProjectError):
    """Object storage that cannot be read or written."""


class ExportError(ProjectError):
    """An export that is impossible here or is not equal to the network."""


class ResultError(ProjectError):
    """Result files of the C++ application that are missing, truncated or of another model."""
