"""How many bits a vector's values have, and how many bytes that makes."""

CODEC = "trellis-2"  # id of what docs/formats.md says of codes
GROUPED = 4.5  # bits per value: int4 in groups, with their scales
GROUP = 32
BITS = (1, 2, 4, GROUPED, 8, 16)


def packed_bytes(count: int, bits: float) -> int:
    """Bytes of ``count`` values of ``bits``; every vector starts on a byte."""
    return group_bytes(count) if bits == GROUPED else -(-count * int(bits) // 8)


def group_bytes(count: int) -> int:
    """Bytes of ``count`` values in groups, of which the last one is filled up."""
    return -(-count // GROUP) * (GROUP // 2 + 2)
