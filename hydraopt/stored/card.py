"""Write the model card of stored adapters."""

from collections.abc import Mapping
from pathlib import Path

from ..shown import markdown, shell

CARD, HEAT_MAP = "README.md", "errors.png"


def write_card(directory: Path, about: Mapping, heat_map: bytes | None) -> None:
    """Write ``README.md`` and, if given, the heat map of errors."""
    if heat_map is not None:
        (directory / HEAT_MAP).write_bytes(heat_map)
    card = _card(about, drawn=heat_map is not None)
    (directory / CARD).write_text(card, encoding="utf-8")


def _card(about: Mapping, *, drawn: bool) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in about["settings"].items())
    base, tasks = about["base_model"], about["tasks"]
    share = about["stored_bytes"] / about["adapter_bytes"]
    lines = [
        f"# {len(tasks)} LoRA adapters of {markdown(base)}",
        "",
        f"Method: {markdown(about['method'])} ({markdown(settings)}). "
        f"Storage: {about['stored_bytes']:,} bytes, {share:.1%} of the adapters' fp16 bytes.",
        "",
        "```",
        "hydraopt info .",
        f"hydraopt unmerge . --task {shell(tasks[0])} -o adapter/   # back to PEFT",
        f"hydraopt export . --base {shell(base)} -o bundle/",
        "```",
        "",
        "Tasks: " + ", ".join(map(markdown, tasks)),
        "",
    ]
    if drawn:
        lines += [f"![relative error of the delta per module and task]({HEAT_MAP})", ""]
    return "\n".join(lines)
