"""Every single bit of a manifest, flipped."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hydraopt.errors import BundleError
from hydraopt.formats.manifest import MANIFEST, Manifest


def flips(bundle: Path, every: int = 1) -> tuple[int, list[int]]:
    """How many bits were flipped, and the numbers of those that were accepted.

    Args:
        bundle: whose manifest it is.
        every: flip one of so many bits.
    """
    good = (bundle / MANIFEST).read_bytes()
    bits = range(0, 8 * len(good), every)
    accepted = []
    with TemporaryDirectory() as directory:
        path = Path(directory) / MANIFEST
        for bit in bits:
            changed = bytearray(good)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            try:
                Manifest.read(path.parent)
            except BundleError:
                continue
            accepted.append(bit)
    return len(bits), accepted
