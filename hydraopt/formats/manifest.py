"""``manifest.json``: the contents of a bundle, and how to call its program."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..documents import read_document, sealed
from ..errors import BundleError
from ..files import write_bytes
from ..schemes import SCHEMES, Scheme, loosest_scheme
from .models import CausalLm, Encoder, Image, Model, read_model
from .pack import SHARED, Pack
from .records import FileRecord, check_files, parse_records
from .swaps import Inputs, Swap, read_swap

FORMAT_VERSION = 8
WRITER = "hydraopt export"
FORWARD, UNPACK = "forward", "unpack"
MANIFEST, PROGRAM, TOKENIZER = "manifest.json", "model.pte", "tokenizer.json"
BUNDLE = "bundle"


@dataclass(frozen=True)
class Calibration:
    """Texts for which a base's weights were rounded.

    Attributes:
        texts: ``prompts`` of the tasks, or ``generated`` by the base.
        tokens: number of tokens.
    """

    texts: str
    tokens: int


@dataclass(frozen=True)
class Manifest:
    """The metadata of a bundle.

    Attributes:
        base_model: identifier of the base model.
        base_config_sha256: SHA-256 of its ``config.json``.
        executorch: version of ExecuTorch that lowered the program.
        method: method that compressed or merged the adapters.
        adapter_bytes: fp16 bytes of the original adapters.
        quantize: scheme of the base's linear layers, one of :data:`~hydraopt.schemes.SCHEMES`.
        model: kind of base model, and how to call its program.
        swap: how the program switches tasks.
        files: path inside the bundle -> size and hash of every file that a phone needs, except
            the manifest and packs.
        classes: task -> number of classes of its head, which are the first of the program's
            logits; empty if the tasks have no heads.
        deviation: largest relative error of the model before quantisation against transformers
            with the unpacked adapters; None if not compared.
        base_weights: name of a base weight -> shape and SHA-256 of the float32 values of each
            copy that was saved with the adapters and compared with the base.
        layers: adapter module -> its name in the program, if different; None if the program never
            runs the layer.
        backend: backend of the program.
        overrides: pattern of layer names -> their scheme in place of ``quantize``.
        calibration: what the base's weights were rounded for; None: least squared error.
        versions: task -> its version, where it is not 1.
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
    overrides: Mapping[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    versions: Mapping[str, int] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return self.swap.tasks

    @property
    def packs(self) -> Mapping[str, Pack]:
        """Task -> location of its pack or .ptd file; empty if the tasks are in the program."""
        return self.swap.packs

    @property
    def loosest_scheme(self) -> Scheme:
        """The scheme whose tolerance the program is held to, the loosest of its layers."""
        return loosest_scheme([self.quantize, *self.overrides.values()])

    @property
    def causal_lm(self) -> CausalLm:
        """The record of a causal language model.

        Raises:
            BundleError: the base is of another kind.
        """
        if not isinstance(self.model, CausalLm):
            raise BundleError(
                f"the base model is of kind {self.model.kind}, expected {CausalLm.kind}: only "
                "causal language models generate text"
            )
        return self.model

    @property
    def growth(self) -> Mapping[str, FileRecord]:
        """Path -> size and hash of files that a phone does not need."""
        return self.swap.growth

    @property
    def phone_names(self) -> set[str]:
        """Paths of all files that a phone needs, except the manifest."""
        return {*self.files, *(pack.file for pack in self.packs.values())}

    @property
    def names(self) -> set[str]:
        """Paths of all files except the manifest."""
        return {*self.phone_names, *self.growth}

    @property
    def pack_sizes(self) -> tuple[int, ...]:
        """Bytes of all packs or .ptd files; a file shared by several tasks counts once."""
        return tuple(pack.length for pack in dict.fromkeys(self.packs.values()))

    @property
    def total_bytes(self) -> int:
        """Bytes of all files that a phone needs, except the manifest."""
        return sum(record.bytes for record in self.files.values()) + sum(self.pack_sizes)

    @property
    def document(self) -> bytes:
        """Content of ``manifest.json``, with a digest."""
        fields = asdict(self)
        fields["model"] = {"kind": self.model.kind, **fields["model"]}
        fields["swap"] = {"mode": self.swap.mode, **fields["swap"]}
        return sealed({"format_version": FORMAT_VERSION, **fields})

    def write(self, path: Path) -> None:
        """Write ``manifest.json``."""
        write_bytes(path, self.document)

    @classmethod
    def read(cls, bundle: Path) -> "Manifest":
        """Read and check ``manifest.json``.

        Raises:
            BundleError: the manifest is missing, damaged, modified or of another format version.
        """
        path = bundle / MANIFEST
        fields = read_document(path, "manifest", FORMAT_VERSION, WRITER)
        del fields["format_version"], fields["digest"]
        fields["model"] = read_model(fields["model"])
        fields["swap"] = read_swap(fields["swap"])
        fields["files"] = parse_records(fields["files"])
        if fields.get("calibration"):
            fields["calibration"] = Calibration(**fields["calibration"])
        manifest = cls(**fields)
        for what, fits in manifest._fitting().items():
            if not fits:
                raise BundleError(f"{path} is damaged: its {what} do not fit; export again")
        return manifest

    def _fitting(self) -> Mapping[str, bool]:
        """Return by topic whether fields are consistent, which the schema cannot express."""
        model, swap = self.model, self.swap
        lengths = {pack.length for pack in self.packs.values()}
        return {
            "quantisation": {self.quantize, *self.overrides.values()} <= {*SCHEMES},
            "packs": not isinstance(swap, Inputs) or len(lengths) == 1,
            "files": not isinstance(swap, Inputs)
            or SHARED in (swap.growth if swap.static_rows else self.files),
            "classes": not self.classes or {*self.classes} == {*self.tasks},
            "versions": {*self.versions} <= {*self.tasks},
            "lengths": not isinstance(model, CausalLm) or model.prefill_length < model.max_length,
            "outputs": not isinstance(model, Encoder) or not (model.per_token and model.pooling),
            "pictures": not isinstance(model, Image) or model.fits,
        }

    def check_files(self, bundle: Path) -> None:
        """Check every file by size and hash; files of :attr:`growth` may be missing.

        Raises:
            BundleError: a file or pack is missing or differs.
        """
        there = {name: x for name, x in self.growth.items() if (bundle / name).exists()}
        check_files(bundle, {**self.files, **there}, "export")
        for pack in dict.fromkeys(self.packs.values()):
            pack.read(bundle)
