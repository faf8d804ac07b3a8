"""SonoNet-16 as it was published, with its own classes and classifier (Baumgartner et al., IEEE TMI 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from metfa.runtime.bundle.contract import Normalisation
from metfa.runtime.bundle.directory import WEIGHTS
from metfa.runtime.errors import BundleError

from .encoders.published import CLASSES, GREY_SCALE
from .encoders.sononet16 import EPSILON, FEATURES, hidden_layers
from .model import Normalise
from .weights import parse_tensors

if TYPE_CHECKING:
    from metfa.runtime.bundle.directory import Bundle

PUBLISHED_NORMALISATION = Normalisation(kind="per-image", scale=GREY_SCALE, mean=None)


class SonoNet(nn.Module):
    """The network as it was published; the mean of its last hidden feature map serves as the embedding.

    Args:
        classes: M; 14 as published.
    """

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.normalise = Normalise(PUBLISHED_NORMALISATION)
        self.features = nn.Sequential(*hidden_layers())
        self.classes = nn.Sequential(nn.Conv2d(FEATURES, classes, 1, bias=False), nn.BatchNorm2d(classes, eps=EPSILON))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, 1, 224, 288] → logits [N, M] and embedding [N, 64]."""
        features = self.features(self.normalise(frames))
        return self.classes(features).mean((2, 3)), features.mean((2, 3))


def load_sononet(bundle: Bundle) -> SonoNet:
    """Rebuild the network of a bundle that ``metfa-export --sononet`` made.

    Raises:
        BundleError: its weights are missing, damaged, or those of another network.
    """
    path = bundle.directory / WEIGHTS
    network = SonoNet(len(bundle.contract.labels))
    try:
        network.load_state_dict(parse_tensors(bundle.read(WEIGHTS), path))
    except RuntimeError as cause:
        raise BundleError(
            expected=f"the weights of SonoNet-16 in {path}",
            received=str(cause).splitlines()[-1],
            remedy="make the bundle again with metfa-export --sononet",
        ) from None
    return network.eval()
