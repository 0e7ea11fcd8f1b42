"""The files that a phone reads: manifest, layout and packs, as docs/formats.md describes them.

Reading them needs neither torch nor anything else that takes long to import.
"""
