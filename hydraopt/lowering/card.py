"""What people read beside a bundle's files: a README.md, which the program does not need."""

from pathlib import Path

from ..formats.manifest import CARD, Manifest


def write_card(directory: Path, manifest: Manifest) -> None:
    """Write a bundle's README.md.

    It names no task, so that it stays true when some are added or taken out.
    """
    (directory / CARD).write_text(_card(manifest), encoding="utf-8")


def _card(manifest: Manifest) -> str:
    form = {
        "linear layers": manifest.quantize,
        "embedding": manifest.embedding,
        "attention": manifest.attention,
        "tokens": manifest.max_length,
    }
    known = ", ".join(
        f"{what} {'float32' if value == 'none' else value}"
        for what, value in form.items()
        if value is not None
    )
    return "\n".join(
        [
            f"# LoRA adapters of {manifest.base_model} in one ExecuTorch program",
            "",
            f"Base model: {manifest.base_model} ({manifest.kind}). Method: {manifest.method}. "
            f"Program: {known}; ExecuTorch {manifest.executorch}, swap {manifest.swap}.",
            "",
            "```",
            "hydraopt info .    # tasks and sizes",
            "hydraopt verify .  # every file against its SHA-256",
            "```",
            "",
        ]
    )
