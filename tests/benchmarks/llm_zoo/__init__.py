"""The LLM zoo: LoRA adapters of a real base model, trained on freely available human text.

``python -m llm_zoo.train``, with this package's parent on ``PYTHONPATH``, builds the zoo, and
``make llm`` also evaluates it. README.md lists the sources and their licences.
"""
