"""Many LoRA adapters of one base model on one phone."""

import logging

# Both warn at import, about their own builds, and no user of ours can act on it.
for _name in ("torch.utils._pytree", "torchao"):
    logging.getLogger(_name).setLevel(logging.ERROR)
