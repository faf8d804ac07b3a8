"""From a trained bundle to what an edge device runs: ONNX in FP32 and FP16, TensorRT engines, and their proof.

::

    from metfa.export import ExportConfig, export

    made = export("runs/B", ExportConfig(fp16=True))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Export, ExportConfig, export, export_sononet

__all__ = ["Export", "ExportConfig", "export", "export_sononet"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch when it is asked for."""
    if name in __all__:
        from . import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
