"""HydraLoRA on disk: ``hydralora.json`` and ``hydralora.safetensors``, fp16.

Keys: ``MODULE.lora_A.weight [r, in]``, ``MODULE.lora_Bi.weight [out, r]`` for expert i of N, and
``MODULE.lora_route.weight [N, in]``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from ..documents import read_document, sealed
from ..errors import BundleError, TrainingError
from ..files import output_directory, write_bytes, write_tensors
from ..formats.records import check_files, parse_records, records
from ..reading import file_tensors, shortened
from .layers import HydraConfig, HydraLinear

FORMAT_VERSION = 3
WRITER = "hydraopt train hydralora"
CONFIG, WEIGHTS = "hydralora.json", "hydralora.safetensors"
HYDRALORA = "HydraLoRA adapter"


class HydraFactors(NamedTuple):
    """Float32 factors of one layer: ``a [r, in]``, ``b [out, N r]`` and ``route [N, in]``."""

    a: torch.Tensor
    b: torch.Tensor
    route: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """``(out, in)`` of the layer."""
        return self.b.shape[0], self.a.shape[1]


@dataclass(frozen=True)
class HydraLora:
    """A trained HydraLoRA adapter: dotted module name -> factors."""

    base_model: str
    config: HydraConfig
    modules: Mapping[str, HydraFactors]

    @classmethod
    def from_layers(
        cls, layers: Mapping[str, HydraLinear], config: HydraConfig, base_model: str
    ) -> "HydraLora":
        """Copy the parameters of trained layers."""
        return cls(
            base_model,
            config,
            {
                name: HydraFactors(
                    *(x.detach().float().cpu().clone() for x in (layer.a, layer.b, layer.route))
                )
                for name, layer in layers.items()
            },
        )

    @property
    def values(self) -> int:
        """Number of trained parameters."""
        return sum(tensor.numel() for factors in self.modules.values() for tensor in factors)

    def fill(self, layers: Mapping[str, HydraLinear]) -> None:
        """Copy the factors into ``layers``, which have the same modules."""
        with torch.no_grad():
            for name, factors in self.modules.items():
                layer = layers[name]
                for own, factor in zip((layer.a, layer.b, layer.route), factors, strict=True):
                    own.copy_(factor)

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the directory atomically.

        Raises:
            OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
            TrainingError: a value is not finite in fp16.
        """
        with output_directory(directory, HYDRALORA, overwrite=overwrite) as staging:
            write_tensors(staging / WEIGHTS, self._tensors())
            about = {
                "format_version": FORMAT_VERSION,
                "base_model": self.base_model,
                "modules": list(self.modules),
                **asdict(self.config),
                "files": records(staging, [WEIGHTS]),
            }
            write_bytes(staging / CONFIG, sealed(about))

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for module, (a, b, route) in self.modules.items():
            tensors[f"{module}.lora_A.weight"] = a
            tensors[f"{module}.lora_route.weight"] = route
            for i, expert in enumerate(b.split(self.config.rank, 1)):
                tensors[f"{module}.lora_B{i}.weight"] = expert
        tensors = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise TrainingError(f"{name} is not finite in fp16; train with a lower rate")
        return tensors

    @classmethod
    def load(cls, directory: str | Path) -> "HydraLora":
        """Read a directory written by :meth:`save`.

        Raises:
            BundleError: a file is missing, damaged or of another format version.
        """
        directory = Path(directory)
        about = read_document(directory / CONFIG, "hydralora", FORMAT_VERSION, WRITER)
        check_files(directory, parse_records(about["files"]), "train")
        try:
            config = HydraConfig(**{name: about[name] for name in HydraConfig.__annotations__})
            tensors = file_tensors(directory / WEIGHTS)
            modules = {name: _factors(name, tensors, config) for name in about["modules"]}
            if not modules or len(tensors) != len(modules) * (config.experts + 2):
                raise ValueError("tensors do not fit the modules")
            return cls(str(about["base_model"]), config, modules)
        except (TrainingError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{directory / WEIGHTS} is missing or damaged or does not fit {CONFIG} "
                f"({shortened(error)}); train or copy it again"
            ) from error


def _factors(module: str, tensors: Mapping[str, torch.Tensor], config: HydraConfig) -> HydraFactors:
    a, route = (tensors[f"{module}.lora_{side}.weight"].float() for side in ("A", "route"))
    experts = [tensors[f"{module}.lora_B{i}.weight"].float() for i in range(config.experts)]
    factors = HydraFactors(a, torch.cat(experts, 1), route)
    out, width = factors.shape
    shapes = [tuple(x.shape) for x in (a, route, *experts)]
    expected = [(config.rank, width), (config.experts, width)] + [
        (out, config.rank)
    ] * config.experts
    if shapes != expected or not all(x.isfinite().all() for x in factors):
        raise ValueError(f"{module} has factors of shapes {shapes}, expected finite {expected}")
    return factors
