"""Many LoRA adapters of one base model on one phone."""
