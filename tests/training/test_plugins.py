"""What a package of somebody else's adds: a file of its own, and nothing of metfa touched."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from metfa.export.cli import main as export
from metfa.runtime.cli import main as stream
from metfa.training.cli.train import main as train

if TYPE_CHECKING:
    from pathlib import Path

MODULE = '''
import json, time
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import nn

from metfa.runtime import Frame, Source
from metfa.runtime.backends import Inference
from metfa.runtime.sinks import Sink
from metfa.training.encoders import Encoder
from metfa.training.encoders.base import convolution
from metfa.training.methods import Method
from metfa.training.methods.base import descend, detached
from metfa.training.names import Defaults


class Tiny(Encoder):
    channels, strides = (4,), (8,)

    def __init__(self):
        super().__init__(*convolution(1, 4, 8 + 1, 8, nn.ReLU()), nn.Flatten())


class OnlySource(Method):
    """Cross-entropy on the source."""

    defaults = Defaults(learning_rate=0.025, weight_decay=0.0)

    def __init__(self, config, network):
        super().__init__(config, network)
        self.optimisers = (self.sgd(network.parameters()),)

    def step(self, batch, noise, step):
        features = self.run_encoder(self.network.encoder, batch.source)
        logits = self.network.classifier(self.network.embedding(features).sample(noise))
        loss = F.cross_entropy(logits, batch.labels)
        descend(loss, self.optimisers[0], self.config.learning_rate)
        return detached({"ce": loss})


class Ramps(Source):
    live, rate, description = False, 25.0, "ramps"

    def __init__(self, spec, notify):
        self.count = int(spec.rpartition(":")[2])

    def __iter__(self):
        for index in range(self.count):
            image = np.add.outer(np.arange(120), np.arange(160) + index).astype(np.uint8)
            yield Frame(image, index, time.monotonic(), "ramps")


class Counts(Sink):
    name, kind, required = "counts", "records", True

    def __init__(self, path, source, labels):
        self.path, self.counts, self.labels = Path(path), 0, labels

    def write(self, observation):
        self.counts += 1

    def close(self):
        self.path.write_text(json.dumps({"frames": self.counts, "labels": list(self.labels)}))


class FirstClass:
    description, artefact, concurrency = "always the first class", "none", 1

    def __init__(self, bundle, precision):
        self.classes = len(bundle.contract.labels)

    def infer(self, frames):
        logits = np.zeros((len(frames), self.classes), np.float32)
        logits[:, 0] = 9
        return Inference(logits, np.zeros((len(frames), 2), np.float32))
'''
POINTS = {
    "methods": "OnlySource",
    "encoders": "Tiny",
    "sources": "Ramps",
    "sinks": "Counts",
    "backends": "FirstClass",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package that adds one of each kind, all under the name ``outside``."""
    site = tmp_path / "site"
    record = site / "outside-1.dist-info"
    record.mkdir(parents=True)
    (site / "outside_package.py").write_text(MODULE)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1\n")
    points = (f"[metfa.{kind}]\noutside = outside_package:{name}\n" for kind, name in POINTS.items())
    (record / "entry_points.txt").write_text("\n".join(points))
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "outside_package", raising=False)
    return site


def run(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


SMALL = ("--input-size", "28x28", "--embedding", 16, "--steps", 3, "--candidates", 1, "--threads", 1)


def test_one_of_each_kind_is_used_from_training_to_the_stream(
    package: Path, source: Path, target: Path, tmp_path: Path
) -> None:
    bundle, counts = tmp_path / "bundle", tmp_path / "counts.json"
    trained = run(
        train,
        *("--source", source, "--target", target, *SMALL, "--bundle", bundle),
        *("--method", "outside", "--encoder", "outside"),
    )
    assert trained.exit_code == 0, trained.output
    config = json.loads((bundle / "training.json").read_text())
    assert (config["method"], config["encoder"], config["learning_rate"]) == ("outside", "outside", 0.025)
    exported = run(export, bundle)
    assert exported.exit_code == 0, exported.output
    streamed = run(
        stream, "--bundle", bundle, "--device", "outside:7", "--backend", "outside", "--sink", f"outside={counts}"
    )
    assert streamed.exit_code == 0, streamed.output
    assert "backend: always the first class" in streamed.output
    labels = json.loads((bundle / "contract.json").read_text())["labels"]
    assert json.loads(counts.read_text()) == {"frames": 7, "labels": labels}


@pytest.mark.parametrize(
    ("command", "option"), [(train, "--method"), (train, "--encoder"), (stream, "--backend")], ids=str
)
def test_help_lists_added_names(package: Path, command: Any, option: str) -> None:
    assert "|outside]" in run(command, "--help").output.replace("\n", "").replace(" ", "").partition(option)[2]


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (train, ("--method", "nowhere"), "'nowhere' is not one of 'source-only'"),
        (train, ("--encoder", "nowhere"), "'nowhere' is not one of 'edge'"),
        (stream, ("--device", "phantom:A", "--backend", "nowhere"), "'nowhere' is not one of 'auto'"),
    ],
    ids=["method", "encoder", "backend"],
)
def test_a_name_that_nobody_adds_is_refused(
    package: Path, command: Any, arguments: tuple[str, ...], message: str
) -> None:
    result = run(command, *arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "nowhere:7"), "received 'nowhere:7', which does not exist; correct --device"),
        (
            ("--device", "outside:7", "--sink", "nowhere=1"),
            "expected a sink that an installed package adds (outside), received 'nowhere'; correct --sink",
        ),
        (("--device", "outside:7", "--rate", "5"), "received 'outside:7', which has a format of its own"),
        (("--device", "outside:many"), "expected the outside of metfa.sources to open, received ValueError"),
        (
            ("--device", "outside:7", "--sink", "outside=/"),
            "expected the counts to go on, received IsADirectoryError",
        ),
    ],
    ids=["source", "sink", "format", "source that fails", "sink that fails"],
)
def test_a_stream_without_what_was_asked_for_is_refused(
    package: Path, source: Path, target: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    bundle = tmp_path / "bundle"
    assert run(train, "--source", source, "--target", target, *SMALL, "--bundle", bundle).exit_code == 0
    assert run(export, bundle).exit_code == 0
    result = run(stream, "--bundle", bundle, *arguments)
    assert result.exit_code == 1
    assert message in result.output


def test_a_package_that_cannot_be_imported_is_named(package: Path, source: Path, target: Path, tmp_path: Path) -> None:
    (package / "outside_package.py").write_text("import nothing_of_that_name\n")
    result = run(train, "--source", source, "--target", target, "--method", "outside", "--bundle", tmp_path / "bundle")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        "Error: expected the outside of metfa.methods in outside_package:OnlySource, received ModuleNotFoundError: "
        "No module named 'nothing_of_that_name'; mend the package that adds it, or uninstall it"
    )
