"""The README of a merged directory."""

from pathlib import Path


def write_card(directory: Path, about: dict) -> None:
    """Write a README.md that says what the merged directory holds and how to use it."""
    settings = ", ".join(f"{key} {value}" for key, value in about["settings"].items())
    share = about["stored_bytes"] / about["adapter_bytes"]
    lines = [
        f"# {len(about['tasks'])} LoRA adapters of {about['base_model']}, merged",
        "",
        f"Method: {about['method']} ({settings}). "
        f"Storage: {about['stored_bytes']:,} bytes, {share:.1%} of the adapters' fp16 bytes.",
        "",
        "```",
        "hydraopt info .",
        f"hydraopt unmerge . --task {about['tasks'][0]} -o adapter/   # back to PEFT",
        f"hydraopt export . --base {about['base_model']} -o bundle/",
        "```",
        "",
        "Tasks: " + ", ".join(about["tasks"]),
        "",
    ]
    (directory / "README.md").write_text("\n".join(lines), encoding="utf-8")
