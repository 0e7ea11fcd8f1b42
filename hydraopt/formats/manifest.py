"""``manifest.json``: what a bundle holds and how its program is called."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import BundleError, known
from ..files import write_bytes
from .codes import CODEC
from .documents import read_document, sealed
from .layout import LAYOUT
from .pack import SHARED, Pack
from .records import FileRecord, check_files, parse_records

FORMAT_VERSION = 6
WRITER = "hydraopt export"
CAUSAL_LM, ENCODER, IMAGE = "causal_lm", "encoder", "image"
INPUTS, METHODS, DATA, STATIC = "inputs", "methods", "data", "static"
NUMBERS = {  # that a manifest has, by kind
    CAUSAL_LM: ("max_length", "prefill_length", "vocabulary"),
    ENCODER: ("max_length", "vocabulary"),
    IMAGE: (),
}
FORWARD, DECODE = "forward", "decode"
MANIFEST, PROGRAM, TOKENIZER = "manifest.json", "model.pte", "tokenizer.json"
BUNDLE = "bundle"


@dataclass(frozen=True)
class Chat:
    """One user turn in the base model's own chat template: ``prefix + message + suffix``.

    The text is encoded at once and as it is: special tokens in it are tokens, and none is added,
    as the prefix begins with the one that begins a text where the template has it.

    Attributes:
        prefix: system prompt, if the template has a default one, and head of the user's turn.
        suffix: end of the user's turn and head of the answer.
        strip: whether the template takes white space off both ends of the message.
        arguments: variables of the template, name -> JSON, with which the others were found.
    """

    prefix: str
    suffix: str
    strip: bool
    arguments: Mapping[str, str] = field(default_factory=dict)

    def render(self, message: str) -> str:
        """The prompt of one user turn."""
        return self.prefix + (message.strip() if self.strip else message) + self.suffix


@dataclass(frozen=True)
class Manifest:
    """Everything but the weights.

    Attributes:
        base_model: identifier of the base model.
        kind: of the base model: ``causal_lm``, ``encoder`` or ``image``. What means something for
            another kind only is None, or empty.
        base_config_sha256: hash of its ``config.json`` content.
        executorch: version that lowered the program.
        method: the merging method.
        adapter_bytes: fp16 bytes of the adapters that went in.
        quantize: ``none`` or ``8da4w``, the base's linear layers.
        embedding: ``none``, ``4w`` or ``8w``, the base's token embedding.
        attention: ``llm`` (ExecuTorch's operators for language models) or ``portable``.
        swap: ``inputs`` (factors are inputs of ``forward``), ``methods`` (one method per task),
            ``data`` (a .ptd file per task is loaded with the program) or ``static`` (one model for
            all tasks: ``forward`` has nothing to swap).
        static_rows: whether the rows that all tasks share are layers of the program. Then
            ``decode`` takes a task's payload alone, and the shared pack is read by ``hydraopt
            add`` only; else ``decode`` takes the shared payload and the task's.
        max_length: positions of the KV cache, or the most tokens of an encoder's text.
        prefill_length: most tokens of one call of ``forward``; longer prompts are fed in pieces.
        vocabulary: number of token ids.
        eos_ids: tokens that end a generation: those of the base's ``generation_config``, the
            tokenizer's end of text, and the special token that ends a turn of the chat template.
        chat: the base's chat template for one user turn; None where it has none that fits.
        image: channels, height and width of an image model's input.
        factors: shapes of the factors by name: the outputs of ``decode``, and the last inputs of
            ``forward``, in this order. Before them come token ids and positions (``causal_lm``),
            token ids and attention mask (``encoder``), or pixel values (``image``).
        constant_bytes: bytes of the factors that are constants of the program.
        packs: task -> where its pack (``inputs``) or .ptd file (``data``) is.
        methods: task -> name of its method (``methods``, ``static``).
        files: path inside the bundle -> size and hash, of every file but the manifest and those
            that hold packs.
        classes: task -> number of classes of its head, the first ones of the program's logits;
            empty if the tasks have no heads.
        codec: of the packs; None without packs.
        per_token: whether an encoder's output has a row for each token, ``[S, classes]``.
        pooling: how an encoder's hidden states become an embedding, in sentence-transformers'
            terms (``mean``, ``cls``, ``max``, ``lasttoken``, …); None if it gives classes.
        normalized: whether the embedding has the length 1.
        prompt: what is put before every text of an encoder; ids are taken as they are.
        deviation: how far the model before it was quantised was from transformers with the
            unpacked adapters, the largest relative error found; None if it was not compared.
        base_weights: name of a weight of the base -> shape and SHA-256 of its values in float32,
            of each copy that the adapters held of it and that was compared with the base.
        layers: module of an adapter -> its name in the program, where that is another one; None
            if the program never runs the layer.
    """

    base_model: str
    kind: str
    base_config_sha256: str
    executorch: str
    method: str
    adapter_bytes: int
    quantize: str
    embedding: str | None
    attention: str | None
    swap: str
    static_rows: bool
    max_length: int | None
    prefill_length: int | None
    vocabulary: int | None
    factors: Mapping[str, tuple[int, ...]]
    constant_bytes: int
    packs: Mapping[str, Pack]
    methods: Mapping[str, str]
    files: Mapping[str, FileRecord]
    eos_ids: tuple[int, ...] = ()
    chat: Chat | None = None
    image: tuple[int, int, int] | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    codec: str | None = CODEC
    per_token: bool = False
    pooling: str | None = None
    normalized: bool = False
    prompt: str = ""
    deviation: float | None = None
    base_weights: Mapping[str, list[dict]] = field(default_factory=dict)
    layers: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(self.packs or self.methods)

    @property
    def names(self) -> set[str]:
        """Paths of all files but the manifest."""
        return {*self.files, *(pack.file for pack in self.packs.values())}

    @property
    def pack_sizes(self) -> tuple[int, ...]:
        """Bytes of all packs or .ptd files, of what several tasks share once."""
        return tuple(pack.length for pack in dict.fromkeys(self.packs.values()))

    @property
    def total_bytes(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(record.bytes for record in self.files.values()) + sum(self.pack_sizes)

    @property
    def document(self) -> bytes:
        """The content of its file, JSON with a digest."""
        return sealed({"format_version": FORMAT_VERSION, **asdict(self)})

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
        fields["factors"] = {k: tuple(v) for k, v in fields["factors"].items()}
        fields["packs"] = {k: Pack(**v) for k, v in fields["packs"].items()}
        fields["files"] = parse_records(fields["files"])
        fields["eos_ids"] = tuple(fields["eos_ids"])
        fields["image"] = fields["image"] and tuple(fields["image"])
        fields["chat"] = fields["chat"] and Chat(**fields["chat"])
        manifest = cls(**fields)
        for what, fits in manifest._fitting().items():
            if not fits:
                raise BundleError(f"{path} is damaged: its {what} do not fit; export again")
        return manifest

    def _fitting(self) -> Mapping[str, bool]:
        """What no schema says: which fields fit together."""
        packed = self.swap in (INPUTS, DATA)
        numbers = [getattr(self, name) for name in NUMBERS[self.kind]]
        return {
            "packs": bool(self.packs) == packed and bool(self.methods) != packed,
            "files": self.swap != INPUTS or {LAYOUT, SHARED} <= self.files.keys(),
            "codec": (self.codec is not None) == (self.swap == INPUTS),
            "classes": not self.classes or {*self.classes} == {*self.tasks},
            "numbers": None not in numbers
            and (
                self.kind != CAUSAL_LM
                or known(self.prefill_length, "prefill length")
                < known(self.max_length, "max length")
            ),
            "outputs": not (self.per_token or self.pooling)
            or (self.kind == ENCODER and not (self.per_token and self.pooling)),
            "pooling": self.pooling is not None or not (self.normalized or self.prompt),
            "image": (self.image is not None) == (self.kind == IMAGE),
        }

    def check_files(self, bundle: Path) -> None:
        """Compare every file with its recorded size and hash.

        Raises:
            BundleError: the first file or pack that is missing or differs.
        """
        check_files(bundle, self.files, "export")
        for pack in dict.fromkeys(self.packs.values()):
            pack.read(bundle)
