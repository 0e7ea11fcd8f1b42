"""What an export refuses, and that it then leaves nothing."""

import pytest
from conftest import FLOAT32, save_adapter, tiny_llama
from transformers import LlamaConfig, LlamaForCausalLM

from hydraopt.adapters import read_adapters
from hydraopt.errors import LoweringError, UsageError
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.packing import code_verbatim

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 32}, r"down_proj .* is \(32, 96\) \(out, in\), expected \(64, 96\)"),
        ({"num_hidden_layers": 0}, r"no module model\.layers\.0"),
    ],
)
def test_adapters_of_another_base_are_refused(merged, tmp_path, change, message):
    config = LlamaConfig(**(tiny_llama().config.to_dict() | change | {"head_dim": None}))
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    with pytest.raises(LoweringError, match=message):
        export_bundle(merged, str(tmp_path / "other"), tmp_path / "out", FLOAT32)
    assert not (tmp_path / "out").exists()


def test_a_layer_that_cannot_be_quantised_names_the_way_out(tmp_path):
    odd = tiny_llama(intermediate_size=40)
    odd.save_pretrained(tmp_path / "base")
    save_adapter(tmp_path / "one", base_model=odd)
    merged = code_verbatim(hydraopt(read_adapters([tmp_path / "one"]), rank=4))
    message = "40 inputs, expected a multiple of 32 for 8da4w; export without quantising"
    with pytest.raises(LoweringError, match=message):
        export_bundle(merged, str(tmp_path / "base"), tmp_path / "out", check=False)
    assert not (tmp_path / "out").exists()


def test_wrong_requests_are_refused_and_leave_nothing(merged, base, tmp_path):
    for settings, message in [
        (ExportSettings(max_length=1000), "expected 8 to 32"),
        (ExportSettings(max_length=4), "expected 8 to 32"),
        (ExportSettings(quantize="3w"), "expected 8da4w, 8da8w, none"),
        (ExportSettings(embedding="2w"), "expected 4w, 8w, none"),
        (ExportSettings(attention="flash"), "expected llm or portable"),
    ]:
        with pytest.raises(LoweringError, match=message):
            export_bundle(merged, str(base), tmp_path / "out", settings)
    with pytest.raises(UsageError, match="expected one of inputs, methods, data"):
        export_bundle(merged, str(base), tmp_path / "out", FLOAT32, swap="magic")
    with pytest.raises(LoweringError, match="neither a directory nor 'tests/tiny-llama'"):
        export_bundle(merged, "other/base", tmp_path / "out", FLOAT32)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoweringError, match="cannot load base model"):
        export_bundle(merged, str(tmp_path / "empty"), tmp_path / "out", FLOAT32)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
