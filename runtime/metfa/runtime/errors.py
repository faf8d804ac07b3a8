"""Everything that metfa raises on purpose. Each message states what was expected, what was received and what to do.

::

    MetfaError
    ├── ContractError       a model contract that cannot be read or does not fit
    ├── BundleError         a bundle directory, or a file of it, that is missing, damaged or edited
    ├── BackendError        no inference engine can run the model on this host
    ├── MissingExtraError   an optional package is not installed
    ├── PluginError         what another package adds cannot be imported or opened
    ├── ProfileError        a phantom scanner profile that cannot be read
    ├── SourceError         frames cannot be read
    ├── OutputError         a result cannot be written
    ├── DataError           images that cannot be trained on
    ├── TrainingError       training cannot go on
    │   ├── DivergenceError its objective or its network is no longer finite
    │   └── CompilationError the encoder cannot be compiled
    ├── StudyError          a study that is damaged, of another run, or cannot be reached
    └── ExportError         an artefact cannot be made
        └── ParityError     it does not compute what the model computes
"""

from __future__ import annotations

from .text import printable


class MetfaError(Exception):
    """Root of the tree: one line that says what was expected, what was received and what to do.

    Attributes:
        expected: what should have been there.
        received: what was there instead.
        remedy: what to do about it.
    """

    def __init__(self, *, expected: str, received: str, remedy: str) -> None:
        self.expected, self.received, self.remedy = expected, received, remedy
        super().__init__(printable(" ".join(f"expected {expected}, received {received}; {remedy}".split())))


class ContractError(MetfaError):
    """A model contract that cannot be read or does not fit the model beside it."""


class BundleError(MetfaError):
    """A bundle directory, or a file of it, that is missing, damaged or edited."""


class BackendError(MetfaError):
    """No inference engine can run the model on this host."""


class MissingExtraError(MetfaError):
    """An optional package is not installed."""


class PluginError(MetfaError):
    """What another package adds cannot be imported or opened."""


class ProfileError(MetfaError):
    """A phantom scanner profile that cannot be read."""


class SourceError(MetfaError):
    """Frames cannot be read."""


class OutputError(MetfaError):
    """A result cannot be written."""


class DataError(MetfaError):
    """Images that cannot be trained on."""


class TrainingError(MetfaError):
    """Training cannot go on."""


class DivergenceError(TrainingError):
    """The objective of a run, or what its network says, is no longer finite."""


class CompilationError(TrainingError):
    """The encoder cannot be compiled for training."""


class StudyError(MetfaError):
    """A study that is damaged, of another run, or cannot be reached."""


class ExportError(MetfaError):
    """An artefact cannot be made, or does not compute what the model computes."""


class ParityError(ExportError):
    """An artefact does not compute what the model computes, within its tolerance."""
