"""Check that a bundle is complete and that every task runs."""

from pathlib import Path

from ..errors import BundleError
from ..formats.models import CausalLm
from .inputs import example
from .session import Session


def verify(bundle: str | Path) -> dict:
    """Open a bundle and run every task on one token or a black image.

    Raises:
        BundleError: as :meth:`Session.open` and :meth:`Session.switch`; or outputs are not finite.
    """
    session = Session.open(bundle)
    session.try_tokenizer()
    model = session.manifest.model
    run = session.forward if isinstance(model, CausalLm) else session.run
    for task in session.tasks:
        session.switch(task)
        if not run(example(model)).isfinite().all():
            raise BundleError(
                f"task {task!r} of {bundle} gives NaN or infinite outputs; export again"
            )
    return {
        "bundle": str(bundle),
        "files": len(session.manifest.names),
        "tasks": len(session.tasks),
    }
