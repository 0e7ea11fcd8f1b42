"""Bits per value of coded vectors, and their sizes in bytes."""

CODEC = "trellis-2"  # id of the codec that docs/formats.md describes
GROUPED = 4.5  # bits per value: int4 in groups, with their scales
GROUP = 32
BITS = (1, 2, 4, GROUPED, 8, 16)


def packed_bytes(count: int, bits: float) -> int:
    """Return the bytes of ``count`` values of ``bits``; every vector starts on a byte."""
    return group_bytes(count) if bits == GROUPED else -(-count * int(bits) // 8)


def group_bytes(count: int) -> int:
    """Return the bytes of ``count`` values in groups; the last group is padded."""
    return -(-count // GROUP) * (GROUP // 2 + 2)
