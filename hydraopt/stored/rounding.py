"""``Rounding``: the integers of a base that packs were calibrated for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import BundleError
from ..files import write_tensors
from ..formats.manifest import Calibration
from ..formats.stored import ROUNDED
from ..reading import file_tensors
from ..rounding import IntegerWeight

VALUES, SCALES = ".values", ".scales"


@dataclass(frozen=True)
class Rounding:
    """How the linear layers of a base were rounded.

    Attributes:
        quantize: scheme of the layers.
        embedding: scheme of the token embedding.
        overrides: as of :class:`~hydraopt.lowering.settings.ExportSettings`.
        calibration: texts for which they were rounded.
        weights: name of a layer in transformers -> its integers.
    """

    quantize: str
    embedding: str
    overrides: Mapping[str, str]
    calibration: Calibration
    weights: Mapping[str, IntegerWeight]

    def describe(self) -> dict:
        """Return everything but the integers as JSON values."""
        return {
            "quantize": self.quantize,
            "embedding": self.embedding,
            "overrides": dict(self.overrides),
            "calibration": vars(self.calibration),
            "bits": {name: weight.bits for name, weight in self.weights.items()},
        }

    def write(self, directory: Path) -> None:
        """Write the integers."""
        tensors = {name + VALUES: weight.values for name, weight in self.weights.items()}
        tensors |= {name + SCALES: weight.scales for name, weight in self.weights.items()}
        write_tensors(directory / ROUNDED, tensors)

    @classmethod
    def read(cls, directory: Path, about: Mapping) -> "Rounding":
        """Read what :meth:`write` wrote; ``about`` is its description.

        Raises:
            BundleError: the file does not fit the description.
        """
        tensors = file_tensors(directory / ROUNDED)
        try:
            weights = {
                name: _weight(tensors[name + VALUES], tensors[name + SCALES], bits)
                for name, bits in about["bits"].items()
            }
        except (KeyError, ValueError):
            raise BundleError(
                f"{directory / ROUNDED} does not fit its description; compress again"
            ) from None
        calibration = Calibration(**about["calibration"])
        return cls(about["quantize"], about["embedding"], about["overrides"], calibration, weights)


def _weight(values: torch.Tensor, scales: torch.Tensor, bits: int) -> IntegerWeight:
    fits = values.dim() == scales.dim() == 2 and len(values) == len(scales) > 0
    if not fits or scales.shape[1] == 0 or values.shape[1] % scales.shape[1]:
        raise ValueError
    return IntegerWeight(values.to(torch.int8), scales.float(), bits)
