"""``manifest.json``: what a bundle holds and how its program is called."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import BundleError
from ..files import read_versioned_json, sha256, write_json
from ..packing import LAYOUT, SHARED

FORMAT_VERSION = 4
CAUSAL_LM, ENCODER, IMAGE = "causal_lm", "encoder", "image"
NUMBERS = {  # that a manifest has, by kind
    CAUSAL_LM: ("max_length", "prefill_length", "vocabulary"),
    ENCODER: ("max_length", "vocabulary"),
    IMAGE: (),
}
FORWARD, DECODE = "forward", "decode"
MANIFEST, PROGRAM, TOKENIZER = "manifest.json", "model.pte", "tokenizer.json"


@dataclass(frozen=True)
class FileRecord:
    """Size and content hash of one file of the bundle."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileRecord":
        """Measure a file."""
        return cls(path.stat().st_size, sha256(path))


@dataclass(frozen=True)
class Chat:
    """One user turn in the base model's own chat template: ``prefix + message + suffix``.

    The text is encoded at once and as it is: special tokens in it are tokens, and none is added,
    as the prefix begins with the one that begins a text where the template has it.

    Attributes:
        prefix: system prompt, if the template has a default one, and head of the user's turn.
        suffix: end of the user's turn and head of the answer.
        strip: whether the template takes white space off both ends of the message.
    """

    prefix: str
    suffix: str
    strip: bool

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
        tasks: task -> pack file (``inputs``), .ptd file (``data``) or method name (``methods``,
            ``static``).
        classes: task -> number of classes of its head, the first ones of the program's logits;
            empty if the tasks have no heads.
        files: path inside the bundle -> size and hash, for every file but the manifest.
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
    tasks: Mapping[str, str]
    files: Mapping[str, FileRecord]
    eos_ids: tuple[int, ...] = ()
    chat: Chat | None = None
    image: tuple[int, int, int] | None = None
    classes: Mapping[str, int] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, {"format_version": FORMAT_VERSION, **asdict(self)})

    @classmethod
    def read(cls, bundle: Path) -> "Manifest":
        """Read and check ``manifest.json``.

        Raises:
            BundleError: no manifest, a damaged one, or one of a newer format.
        """
        path = bundle / MANIFEST
        fields = read_versioned_json(path, FORMAT_VERSION, "hydraopt export")
        del fields["format_version"]
        try:
            fields["factors"] = {k: tuple(v) for k, v in fields["factors"].items()}
            fields["files"] = {k: FileRecord(**v) for k, v in fields["files"].items()}
            fields["eos_ids"] = tuple(fields["eos_ids"])
            fields["image"] = fields["image"] and tuple(fields["image"])
            fields["chat"] = None if fields["chat"] is None else Chat(**fields["chat"])
            manifest = cls(**fields)
            manifest._check()
            return manifest
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BundleError(f"{path} is damaged ({error}); export again") from error

    def _check(self) -> None:
        """Raise ``ValueError`` or ``AttributeError`` if fields do not fit together."""
        paths = [PurePosixPath(name) for name in self.files]
        targets = set(self.tasks.values())
        packed = self.swap == "inputs"
        for what, holds in {
            "kind": self.kind in NUMBERS,
            "swap": self.swap in ("inputs", "methods", "data", "static"),
            "static_rows": isinstance(self.static_rows, bool),
            "files": PROGRAM in self.files
            and (not packed or {LAYOUT, SHARED} <= set(self.files))
            and not any(path.is_absolute() or ".." in path.parts for path in paths),
            "tasks": targets
            and (self.swap not in ("inputs", "data") or targets <= set(self.files)),
            "classes": not self.classes or self.classes.keys() == self.tasks.keys(),
            "numbers": all(
                isinstance(value, int) and value > 0
                for value in (
                    self.adapter_bytes,
                    *(getattr(self, name) for name in NUMBERS.get(self.kind, ())),
                    *(self.image or ()),
                    *self.classes.values(),
                )
            )
            and (self.kind != CAUSAL_LM or self.prefill_length < self.max_length),
            "image": (self.image is not None) == (self.kind == IMAGE)
            and len(self.image or "chw") == 3,
            "chat": self.chat is None
            or (isinstance(self.chat.prefix, str) and isinstance(self.chat.suffix, str)),
        }.items():
            if not holds:
                raise ValueError(f"its {what} do not fit")

    def check_files(self, bundle: Path) -> None:
        """Compare every file with its recorded size and hash.

        Raises:
            BundleError: the first file that is missing or differs.
        """
        for name, expected in self.files.items():
            path = bundle / name
            if not path.is_file():
                raise BundleError(f"{path} is missing; export or copy the bundle again")
            found = FileRecord.of(path)
            if found != expected:
                raise BundleError(
                    f"{path} is damaged or from another bundle: {found.bytes} bytes, SHA-256 "
                    f"{found.sha256[:12]}…, expected {expected.bytes} bytes, "
                    f"{expected.sha256[:12]}…; export or copy the bundle again"
                )
