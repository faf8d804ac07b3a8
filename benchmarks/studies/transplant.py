"""What a published classifier's weights are worth where no image of its scanner is at hand.

::

    python -m benchmarks.studies.transplant --source organs.csv?domain=A --target organs.csv?domain=B \
        --weights SonoNet16.npz --output transplant --steps 300

A linear classifier is fitted to SonoNet-16's features of the source, and kept as the published network keeps its own.
Of the source there is nothing else from then on: ``metfa-train --from`` derives what the classes look like from these
weights, and adapts to the target. Options go to ``metfa-train``.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from metfa.export.sononet import read_published_weights, sononet_contract
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle import records
from metfa.runtime.bundle.directory import CONTRACT, WEIGHTS, updating
from metfa.runtime.command import Command
from metfa.runtime.errors import BundleError
from metfa.runtime.files import write_text
from metfa.training.data.decoding import Preparation
from metfa.training.data.prepared import read_domain
from metfa.training.data.readers import list_domain
from metfa.training.evaluation.scores import score
from metfa.training.outcome import EVALUATION, Evaluation
from metfa.training.sononet import SonoNet
from metfa.training.weights import save_tensors

from ..commands import make_bundle
from ..tables.report import spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from metfa.training.data.listing import Split
    from metfa.training.data.prepared import PreparedDomain

METHODS = ("adabn", "shot", "metfa-vi")
_BATCH = 32


@click.command(
    cls=Command,
    context_settings={"show_default": True, "max_content_width": 120, "ignore_unknown_options": True},
    options_metavar="[OPTIONS] [OPTIONS OF metfa-train]",
)
@click.option("--source", required=True, help="The labelled domain.")
@click.option("--target", required=True, help="The domain to adapt to, with labels that score the result.")
@click.option("--weights", type=click.Path(path_type=Path), required=True, help="SonoNet16.npz.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Runs: seeds 0, 1, …")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Directory of table, record and bundles."
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="")
def main(source: str, target: str, weights: Path, seeds: int, output: Path, options: tuple[str, ...]) -> None:
    """Fit a linear classifier to one domain, and adapt it to another by its weights alone."""
    published = read_published_weights(weights)
    first, second = (_Domain(published, specification) for specification in (source, target))
    scores: dict[str, list[float]] = {name: [] for name in ("as published", *METHODS)}
    for seed in range(seeds):
        of_first = first.prepared.divide(seed, by_class=True)
        network = _fit(published, *first.part(of_first, "train"), len(of_first.classes))
        directory = output / "runs" / str(seed)
        _save(network, of_first.classes, directory / "published")
        features, labels = second.part(second.prepared.divide(seed, by_class=False), "test")
        scores["as published"].append(score(labels, _name(network, features), len(of_first.classes)).f1)
        for method in METHODS:
            make_bundle(
                directory / method,
                *("--from", directory / "published", "--target", target, "--method", method, "--freeze-encoder"),
                *("--seed", seed, *options),
                export=False,
            )
            scores[method].append(_target_f1(directory / method))
        write_text(output / "transplant.json", _record(scores))
    for name, values in scores.items():
        click.echo(f"| {name} | {spread(values)} |")


class _Domain:
    """A domain, and the published features of its images, which are computed once."""

    def __init__(self, published: SonoNet, specification: str) -> None:
        size = sononet_contract().input
        self.prepared = read_domain(list_domain(specification), Preparation(size.height, size.width, None))
        self._everything = self.prepared.store(np.arange(len(self.prepared.labels)), self.prepared.classes)
        frames = self._everything.frames
        with torch.inference_mode():
            parts = (torch.from_numpy(frames[at : at + _BATCH].copy()) for at in range(0, len(frames), _BATCH))
            self._features = np.concatenate([published(part)[1].numpy() for part in parts])

    def part(self, divided: PreparedDomain, split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return features and labels of a split."""
        chosen = np.array(divided.splits) == split
        return self._features[chosen], self._everything.labels[chosen]


def _fit(published: SonoNet, features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> SonoNet:
    """Return the network with a classifier that is fitted to labelled features."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    head = LogisticRegression(max_iter=1000).fit((features - mean) / deviation, labels)
    weight = head.coef_ / deviation
    network = SonoNet(classes)
    network.features.load_state_dict(published.features.state_dict())
    convolution, norm = network.classes
    assert isinstance(norm, torch.nn.BatchNorm2d)
    with torch.no_grad():
        convolution.get_parameter("weight").copy_(torch.from_numpy(weight)[:, :, None, None])
        norm.bias.copy_(torch.from_numpy(head.intercept_ - weight @ mean))
        norm.get_buffer("running_var").fill_(1 - norm.eps)
    return network.eval()


@torch.inference_mode()
def _name(network: SonoNet, features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the class of each feature vector, as the network names it."""
    logits: torch.Tensor = network.classes(torch.from_numpy(features)[:, :, None, None])
    return logits.flatten(1).argmax(dim=1).numpy()


def _target_f1(bundle: Path) -> float:
    remedy = f"delete {bundle} and run the study again"
    evaluation = records.from_json(
        Evaluation, (bundle / EVALUATION).read_bytes(), origin=str(bundle), remedy=remedy, error=BundleError
    )
    if evaluation.target is None:
        raise BundleError(expected="a labelled target", received=str(bundle), remedy="name one with --target")
    return evaluation.target.f1


def _save(network: SonoNet, labels: tuple[str, ...], directory: Path) -> None:
    contract = sononet_contract()
    contract = replace(contract, labels=labels, decision=replace(contract.decision, background=()))
    with updating(directory, keep=lambda _: False) as stage:
        save_tensors(network.state_dict(), stage / WEIGHTS)
        write_text(stage / CONTRACT, contract.to_json())


def _record(scores: Mapping[str, Sequence[float]]) -> str:
    command = shlex.join(["python", "-m", "benchmarks.studies.transplant", *sys.argv[1:]])
    return json.dumps({"benchmark": "transplant", "command": command, "host": host(), "scores": scores}) + "\n"


if __name__ == "__main__":
    main()
