"""What the exporter does not take of a model is one line; a bug of ours keeps its traceback."""

import pytest
import torch
from torch import nn

from hydraopt.errors import LoweringError, OutputError
from hydraopt.lowering.backends import find_backend
from hydraopt.lowering.backends.xnnpack import partition
from hydraopt.lowering.program import export_module, lower
from hydraopt.lowering.refusing import refusing
from hydraopt.lowering.slots import Slot


class Model(nn.Module):
    """A model with one slot, and code that a test chooses."""

    def __init__(self, code=lambda x: x):
        super().__init__()
        self.inputs = {}
        self.slot, self.code = Slot(nn.Linear(32, 8), "slot", self.inputs), code

    def forward(self, x, factors):
        self.inputs.update(factors)
        return self.code(self.slot(x))


def exported(model: Model) -> torch.export.ExportedProgram:
    shapes = {"slot.A": (1, 32, 4), "slot.B": (1, 4, 8)}
    return export_module(model, (torch.ones(1, 3, 32),), {"x": None}, shapes)


@pytest.mark.parametrize(
    "code", [lambda x: x if x.sum() > 0 else -x, lambda x: x.no_such_attribute, lambda x: x @ x]
)
def test_a_model_that_cannot_be_traced_is_one_line(code):
    with pytest.raises(LoweringError, match=r"not take this base model .* exported") as raised:
        exported(Model(code))
    assert "\n" not in str(raised.value)


def test_operators_that_the_backend_fails_on_are_one_line(monkeypatch):
    def failing(*_, **__):
        raise RuntimeError("no such operator\nand its graph")

    monkeypatch.setattr(partition, "to_edge_transform_and_lower", failing)
    with pytest.raises(LoweringError, match=r"operators of this base model .*no such") as raised:
        lower({"forward": exported(Model())}, find_backend())
    assert "\n" not in str(raised.value)


def test_a_bug_in_what_hands_over_to_a_backend_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(partition, "EdgeCompileConfig", None)
    with pytest.raises(TypeError, match="NoneType"):
        lower({"forward": exported(Model())}, find_backend())


def test_a_bug_in_a_slot_keeps_its_traceback():
    model = Model()
    model.slot.product = None
    with pytest.raises(Exception, match="NoneType") as raised:
        exported(model)
    assert not isinstance(raised.value, LoweringError)


@pytest.mark.parametrize("error", [OutputError("no space"), MemoryError(), OSError("disk full")])
def test_our_own_errors_and_those_of_the_system_stay_as_they_are(error):
    with pytest.raises(type(error)), refusing("It fails"):
        raise error
