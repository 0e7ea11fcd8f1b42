"""Changed descriptions with digests that fit, to test what is behind them."""

import json
from pathlib import Path

from hydraopt.documents import sealed
from hydraopt.formats.records import records


def reseal(path: Path, **changes: object) -> None:
    """Change fields of a JSON file with a digest; its records become those of the files there."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    del fields["digest"]
    directory = path.parent
    fields["files"] = records(directory, [x for x in fields["files"] if (directory / x).exists()])
    path.write_bytes(sealed(fields | changes))
