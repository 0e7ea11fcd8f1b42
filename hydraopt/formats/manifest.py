"""``manifest.json``: what a bundle holds and how its program is called."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..documents import read_document, sealed
from ..errors import BundleError
from ..files import write_bytes
from ..schemes import SCHEMES
from .models import CausalLm, Encoder, Model, read_model
from .pack import SHARED, Pack
from .records import FileRecord, check_files, parse_records
from .swaps import Data, Inputs, Swap, read_swap

FORMAT_VERSION = 7
WRITER = "hydraopt export"
FORWARD, UNPACK = "forward", "unpack"
MANIFEST, PROGRAM, TOKENIZER = "manifest.json", "model.pte", "tokenizer.json"
BUNDLE = "bundle"


@dataclass(frozen=True)
class Manifest:
    """Everything but the weights.

    Attributes:
        base_model: identifier of the base model.
        base_config_sha256: hash of its ``config.json`` content.
        executorch: version that lowered the program.
        method: the merging method.
        adapter_bytes: fp16 bytes of the adapters that went in.
        quantize: scheme of the base's linear layers, one of :data:`~hydraopt.schemes.SCHEMES`.
        model: what the base is, and how its program is called.
        swap: what a task is, and how it becomes the current one.
        files: path inside the bundle -> size and hash, of every file that a phone needs but the
            manifest and those that hold packs.
        classes: task -> number of classes of its head, the first ones of the program's logits;
            empty if the tasks have no heads.
        deviation: how far the model before it was quantised was from transformers with the
            unpacked adapters, the largest relative error found; None if it was not compared.
        base_weights: name of a weight of the base -> shape and SHA-256 of its values in float32,
            of each copy that the adapters held of it and that was compared with the base.
        layers: module of an adapter -> its name in the program, where that is another one; None
            if the program never runs the layer.
        backend: what runs the program's matrix products.
    """

    base_model: str
    base_config_sha256: str
    executorch: str
    method: str
    adapter_bytes: int
    quantize: str
    model: Model
    swap: Swap
    files: Mapping[str, FileRecord]
    classes: Mapping[str, int] = field(default_factory=dict)
    deviation: float | None = None
    base_weights: Mapping[str, list[dict]] = field(default_factory=dict)
    layers: Mapping[str, str | None] = field(default_factory=dict)
    backend: str = "xnnpack"

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return self.swap.tasks

    @property
    def packs(self) -> Mapping[str, Pack]:
        """Task -> where its pack or .ptd file is; empty if the tasks are in the program."""
        return self.swap.packs if isinstance(self.swap, Inputs | Data) else {}

    @property
    def causal_lm(self) -> CausalLm:
        """The record of a base that continues texts.

        Raises:
            BundleError: the base is of another kind.
        """
        if not isinstance(self.model, CausalLm):
            raise BundleError(
                f"the base model is of kind {self.model.kind}, expected {CausalLm.kind}: only such "
                "models continue texts"
            )
        return self.model

    @property
    def growth(self) -> Mapping[str, FileRecord]:
        """Path -> size and hash of what a phone does not need."""
        return self.swap.growth if isinstance(self.swap, Inputs) else {}

    @property
    def phone_names(self) -> set[str]:
        """Paths of all files that a phone needs but the manifest."""
        return {*self.files, *(pack.file for pack in self.packs.values())}

    @property
    def names(self) -> set[str]:
        """Paths of all files but the manifest."""
        return {*self.phone_names, *self.growth}

    @property
    def pack_sizes(self) -> tuple[int, ...]:
        """Bytes of all packs or .ptd files, of what several tasks share once."""
        return tuple(pack.length for pack in dict.fromkeys(self.packs.values()))

    @property
    def total_bytes(self) -> int:
        """Bytes of all files that a phone needs but the manifest."""
        return sum(record.bytes for record in self.files.values()) + sum(self.pack_sizes)

    @property
    def document(self) -> bytes:
        """The content of its file, JSON with a digest."""
        fields = asdict(self)
        fields["model"] = {"kind": self.model.kind, **fields["model"]}
        fields["swap"] = {"mode": self.swap.mode, **fields["swap"]}
        return sealed({"format_version": FORMAT_VERSION, **fields})

    def write(self, path: Path) -> None:
        """Write it as JSON with a digest."""
        write_bytes(path, self.document)

    @classmethod
    def read(cls, bundle: Path) -> "Manifest":
        """Read and check ``manifest.json``.

        Raises:
            BundleError: no manifest, a damaged or changed one, or one of another format version.
        """
        path = bundle / MANIFEST
        fields = read_document(path, "manifest", FORMAT_VERSION, WRITER)
        del fields["format_version"], fields["digest"]
        fields["model"] = read_model(fields["model"])
        fields["swap"] = read_swap(fields["swap"])
        fields["files"] = parse_records(fields["files"])
        manifest = cls(**fields)
        for what, fits in manifest._fitting().items():
            if not fits:
                raise BundleError(f"{path} is damaged: its {what} do not fit; export again")
        return manifest

    def _fitting(self) -> Mapping[str, bool]:
        """What no schema says: which fields fit together."""
        model, swap = self.model, self.swap
        lengths = {pack.length for pack in self.packs.values()}
        return {
            "quantisation": self.quantize in SCHEMES,
            "packs": not isinstance(swap, Inputs) or len(lengths) == 1,
            "files": not isinstance(swap, Inputs)
            or SHARED in (swap.growth if swap.static_rows else self.files),
            "classes": not self.classes or {*self.classes} == {*self.tasks},
            "lengths": not isinstance(model, CausalLm) or model.prefill_length < model.max_length,
            "outputs": not isinstance(model, Encoder) or not (model.per_token and model.pooling),
        }

    def check_files(self, bundle: Path) -> None:
        """Compare every file with its recorded size and hash; what only grows it may be missing.

        Raises:
            BundleError: the first file or pack that is missing or differs.
        """
        there = {name: x for name, x in self.growth.items() if (bundle / name).exists()}
        check_files(bundle, {**self.files, **there}, "export")
        for pack in dict.fromkeys(self.packs.values()):
            pack.read(bundle)
