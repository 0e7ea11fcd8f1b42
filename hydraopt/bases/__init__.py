"""Check and load base models, with specific errors before any weights are loaded.

``files`` checks the directory and ``config`` its ``config.json``; ``weights`` and ``tokenizer``
then load the model.
"""
