"""The LLM zoo: LoRA adapters of a real base model, trained on human text that anyone can get.

``python -m llm_zoo.train`` with this package's parent on ``PYTHONPATH`` makes all of it; ``make
llm`` measures it as well. Sources and their licences: README.md.
"""
