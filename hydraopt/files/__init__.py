"""Write outputs atomically, and remove or replace only files that this library wrote."""

from .content import json_bytes, safetensors_bytes, sha256, write_bytes, write_json, write_tensors
from .listing import LIST, Listing
from .locked import LockedDirectory, locked_directory
from .outputs import (
    check_files,
    check_output,
    output_directory,
    remove_output,
    write_files,
)
from .staging import check_new, new_file, remove_unfinished, replaced_file
from .unfinished import Unfinished, unfinished

__all__ = [
    "LIST",
    "Listing",
    "LockedDirectory",
    "Unfinished",
    "check_files",
    "check_new",
    "check_output",
    "json_bytes",
    "locked_directory",
    "new_file",
    "output_directory",
    "remove_output",
    "remove_unfinished",
    "replaced_file",
    "safetensors_bytes",
    "sha256",
    "unfinished",
    "write_bytes",
    "write_files",
    "write_json",
    "write_tensors",
]
