"""Base models of others: what is wrong in one is refused by its cause, before its weights count.

``files`` reads a directory, ``config`` its ``config.json``; ``weights`` and ``tokenizer`` load what
these let pass.
"""
