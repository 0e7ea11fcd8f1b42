"""Ed25519 signatures (RFC 8032) with keys as openssl writes them; needs ``cryptography``."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BundleError, UsageError
from ..formats.update import UpdateFile
from ..reading import UnreadableError, file_bytes, shortened

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LARGEST_KEY = 1 << 16  # bytes
DEVELOPER = "get it from the bundle's developer"


def read_private_key(path: Path) -> "Ed25519PrivateKey":
    """Read a key, PKCS#8 in PEM without password.

    Raises:
        UsageError: it cannot be read, or is of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    make = f"make one with `openssl genpkey -algorithm ed25519 -out {path}`"
    try:
        key = load_pem_private_key(_content(path, make), None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} is no private key ({shortened(error)}); {make}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is a private key of another kind, expected Ed25519; {make}")
    return key


def check_signature(file: UpdateFile, public_key: Path) -> None:
    """Check that the owner of a key signed an update.

    Args:
        file: the update.
        public_key: a file with a key, SubjectPublicKeyInfo in PEM.

    Raises:
        BundleError: the update is not signed, by another key, or was changed afterwards.
        UsageError: the key cannot be read, or is of another kind.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    make = "make it with `openssl pkey -in KEY -pubout`"
    try:
        key = load_pem_public_key(_content(public_key, make))
    except ValueError as error:
        raise UsageError(f"{public_key} is no public key ({shortened(error)}); {make}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{public_key} is a key of another kind, expected Ed25519; {make}")
    if file.signature is None:
        raise BundleError(f"{file.path} is not signed, expected a signature; {DEVELOPER}")
    try:
        key.verify(file.signature, file.document)
    except InvalidSignature:
        raise BundleError(
            f"{file.path} is signed by another key, or was changed afterwards; {DEVELOPER}"
        ) from None


def _content(path: Path, step: str) -> bytes:
    try:
        return file_bytes(path, LARGEST_KEY)
    except UnreadableError as error:
        raise UsageError(f"key {path} cannot be read ({error}); {step}") from None
