"""The runner's own kernels compute what ExecuTorch's operators for language models compute."""

from pathlib import Path

import pytest
import torch
from llm_program import CAPACITY, VOCABULARY, Attend, Attention, Embed, Update, program

from hydraopt.errors import ProfilingError
from hydraopt.profiling.host import Host
from hydraopt.profiling.runner import device_runner, host_runner, run_script

pytestmark = pytest.mark.slow

MODULES = {
    "one head": Attend(Attention(heads=1, groups=1, width=16)),
    "every head its own keys": Attend(Attention(heads=4, groups=4, width=32)),
    "grouped": Attend(Attention(heads=9, groups=3, width=64)),
    "one group, wide": Attend(Attention(heads=8, groups=1, width=128)),
    "no whole vectors": Attend(Attention(heads=6, groups=2, width=20)),
    "odd": Attend(Attention(heads=5, groups=5, width=75)),
    "scaled": Attend(Attention(heads=4, groups=2, width=40, scale=0.7)),
    "sharp": Attend(Attention(heads=4, groups=2, width=16, scale=30.0)),
    "all keys": Attend(Attention(heads=6, groups=3, width=24, everything=True)),
    "window": Attend(Attention(heads=4, groups=2, width=32, window=5)),
    "scaled window": Attend(Attention(heads=3, groups=3, width=18, window=20, scale=0.2)),
    "float32 cache": Update(torch.float32),
    "int8 cache": Update(torch.int8),
    "uint8 cache": Update(torch.uint8),
    "4-bit embedding": Embed(4),
    "8-bit embedding": Embed(8),
}
# a token alone and several, at the start and after others, until the cache is full
LENGTHS = (1, 7, 1, 40, 2, 12, 1)


def token_lists(lengths=LENGTHS) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


def script_for(name: str, threads: int = 1, lengths=LENGTHS) -> list[str]:
    """Run the token lists one after the other and keep the results of each."""
    lines = [f"threads {threads}", f"program {name}.pte", "method forward"]
    for index, tokens in enumerate(token_lists(lengths)):
        lines.append(f"{'append' if index else 'prefill'} {','.join(map(str, tokens))}")
        lines.append(f"logits {name}.logits")
    return lines


def reference(pte) -> torch.Tensor:
    """All results of the program in Python, where ExecuTorch's own kernels are registered."""
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401
    from executorch.kernels import quantized  # noqa: F401
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(pte).load_method("forward")
    results, position = [], 0
    for tokens in token_lists():
        positions = torch.arange(position, position + len(tokens))
        results.append(method.execute([torch.tensor([tokens]), positions])[0].flatten().clone())
        position += len(tokens)
    return torch.cat(results)


def write_programs(directory: Path) -> None:
    """Write every program, and beside it its expected results."""
    directory.mkdir()
    for name, module in MODULES.items():
        path = directory / f"{name.replace(' ', '-')}.pte"
        path.write_bytes(program(module))
        torch.save(reference(path), path.with_suffix(".expected"))


@pytest.fixture(scope="session")
def programs(made) -> dict[Path, torch.Tensor]:
    """Expected results of every program, by its path."""
    paths = made("llm", write_programs).glob("*.pte")
    return {path: torch.load(path.with_suffix(".expected")) for path in sorted(paths)}


def assert_computes(device, runner, programs, tmp_path, threads=1):
    """All programs, one after the other in one process."""
    assert sum(LENGTHS) == CAPACITY
    script = [line for path in programs for line in script_for(path.stem, threads)]
    with device.workspace() as workspace:
        workspace.put(dict(runner.files) | {path.name: path for path in programs})
        run_script(workspace, runner, script)
        for path, expected in programs.items():
            workspace.get(f"{path.stem}.logits", tmp_path / "logits")
            found = torch.frombuffer(
                bytearray((tmp_path / "logits").read_bytes()), dtype=torch.float32
            )
            torch.testing.assert_close(
                found,
                expected,
                atol=1e-5,
                rtol=1e-5,
                msg=lambda text, at=path: f"{at.stem}: {text}",
            )


@pytest.mark.parametrize("threads", [1, 3])
def test_computes_on_this_machine(programs, tmp_path, threads):
    assert_computes(Host(), host_runner(), programs, tmp_path, threads)


def test_computes_on_arm64(arm64_compiler, tier_b, programs, tmp_path):
    assert_computes(tier_b, device_runner("arm64-v8a"), programs, tmp_path)


SHAPE = {"heads": 4, "groups": 2, "width": 16}


@pytest.mark.parametrize(
    ("module", "lengths"),
    [
        pytest.param(Attend(Attention(**SHAPE)), (60, 5), id="past the end"),
        pytest.param(Attend(Attention(**SHAPE, updates=False)), (60, 5), id="reads past the end"),
        pytest.param(Update(torch.int8), (63, 2), id="updates past the end"),
        pytest.param(Attend(Attention(**SHAPE, shift=1)), (2,), id="before the start"),
        pytest.param(
            Attend(Attention(**SHAPE, shift=1, updates=False)), (2,), id="reads before the start"
        ),
        pytest.param(Attend(Attention(heads=3, groups=2, width=16)), (2,), id="heads that divide"),
        pytest.param(Attend(Attention(heads=2, groups=4, width=16)), (2,), id="too many groups"),
        pytest.param(Attend(Attention(**SHAPE, key_width=8)), (2,), id="width of the keys"),
        pytest.param(Attend(Attention(**SHAPE, dtype=torch.float16)), (2,), id="float16"),
        pytest.param(
            Attend(Attention(**SHAPE, window=4, mask_width=CAPACITY - 1)), (2,), id="mask's width"
        ),
        pytest.param(
            Attend(Attention(**SHAPE, window=4, causal_with_mask=True)), (2,), id="mask and causal"
        ),
    ],
)
def test_refuses_what_does_not_fit(tmp_path, module, lengths):
    (tmp_path / "wrong.pte").write_bytes(program(module))
    runner, script = host_runner(), script_for("wrong", 1, lengths)
    with Host().workspace() as workspace:
        workspace.put(dict(runner.files) | {"wrong.pte": tmp_path / "wrong.pte"})
        with pytest.raises(ProfilingError, match=r"cannot execute forward: Error::InvalidArgument"):
            run_script(workspace, runner, script)
        assert (
            len(run_script(workspace, runner, script[:-2])) == len(script) - 2
        )  # all but the last
