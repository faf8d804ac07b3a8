"""Planes as DICOM objects: a Secondary Capture image and an Enhanced SR for each event.

The package is apart from the other sinks, as it imports highdicom and pynetdicom.
"""

from .documents import Documents
from .sink import DicomFilesSink, DicomStoreSink

__all__ = ["DicomFilesSink", "DicomStoreSink", "Documents"]
