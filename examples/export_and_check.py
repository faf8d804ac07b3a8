"""Export a trained bundle to ONNX, and check how far each file is from PyTorch.

python examples/export_and_check.py runs/B
"""

from __future__ import annotations

import sys

from metfa.export import ExportConfig, export


def main(bundle: str) -> None:
    """Make FP32 and FP16, and print the largest difference in probability on each domain."""
    made = export(bundle, ExportConfig(fp16=True))
    for comparison in made.artefacts.parity.comparisons:
        for domain, measured in comparison.domains.items():
            of_all = measured.overall
            print(f"{comparison.artefact} by {comparison.computed_by}, {domain}:", end=" ")
            print(f"same label {of_all.top1:.1%}, largest difference {of_all.probability_difference:.1e}")
    for artefact, refusal in made.refusals.items():
        print(f"{artefact} was refused: {refusal}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
