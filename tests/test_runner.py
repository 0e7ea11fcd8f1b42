"""The runner computes what PyTorch computes, on every device, and says clearly what is wrong."""

import struct
import subprocess

import pytest
import torch
from tiny_program import Tiny

from hydraopt.errors import DeviceError, ProfilingError
from hydraopt.formats.pack import write_single
from hydraopt.profiling.host import Host
from hydraopt.profiling.runner import device_runner, host_runner, own_runner, run_script


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


pytestmark = pytest.mark.slow

PROMPT = [1, 2, 3]
STEPS = 5
SEQUENCE = ["prefill 1,2,3", f"decode {STEPS}", "logits logits"]
LOAD = ["threads 1", "program model.pte", "method forward", "shared shared.pack"]
TASK_BY_TASK = [
    *LOAD,
    *("switch packs/one.pack", *SEQUENCE),
    *("switch packs/two.pack", *SEQUENCE),
    *("switch packs/one.pack", *SEQUENCE),
]


def tokens_of(records, script):
    """Tokens of every sequence in a script."""
    records = dict(enumerate(records))
    return [
        [records[line]["token"], *records[line + 1]["tokens"]]
        for line, command in enumerate(script)
        if command.startswith("prefill")
    ]


@pytest.fixture
def host(compiler, tiny: Tiny):
    runner = host_runner()
    with Host().workspace() as workspace:
        workspace.put({**runner.files, **tiny.files})
        yield lambda script: (run_script(workspace, runner, script), workspace)


def assert_computes(device, runner, tiny, tmp_path, atol):
    """Every task in turn, and the first one again, whose cache must not hold the second's."""
    with device.workspace() as workspace:
        workspace.put({**runner.files, **tiny.files})
        records = run_script(workspace, runner, TASK_BY_TASK)
        workspace.get("logits", tmp_path / "logits")
    expected = [tiny.reference(task, PROMPT, STEPS) for task in ("one", "two", "one")]
    assert tokens_of(records, TASK_BY_TASK) == [tokens for tokens, _ in expected]
    found = torch.frombuffer(bytearray((tmp_path / "logits").read_bytes()), dtype=torch.float32)
    logits = torch.stack([logits for _, logits in expected])
    torch.testing.assert_close(found.view(3, -1), logits, atol=atol, rtol=0)


def test_computes_on_this_machine(compiler, tiny, tmp_path):
    assert_computes(Host(), host_runner(), tiny, tmp_path, atol=1e-5)


def test_computes_on_tier_a(compiler, tier_a, tiny, tmp_path):
    assert_computes(tier_a, device_runner(tier_a.facts().abi), tiny, tmp_path, atol=1e-5)


def test_computes_on_arm64(arm64_compiler, tier_b, tiny, tmp_path):
    assert_computes(tier_b, device_runner("arm64-v8a"), tiny, tmp_path, atol=1e-5)


@pytest.mark.parametrize("program", ["baked.pte", "outside.pte outside.ptd"])
def test_runs_the_alternatives(host, tiny, program):
    script = [f"program {program}", "method forward", *SEQUENCE[:2]]
    records, _ = host(script)
    assert tokens_of(records, script) == [tiny.reference("one", PROMPT, STEPS)[0]]


def test_packs_may_lie_in_one_file(compiler, tiny, tmp_path):
    contents = {task: tiny.files[f"packs/{task}.pack"].read_bytes() for task in ("one", "two")}
    places = write_single(tmp_path, contents)
    script = list(LOAD)
    for place in places.values():
        script += [f"switch tasks.pack {place.offset} {place.length}", *SEQUENCE[:2]]
    runner = host_runner()
    with Host().workspace() as workspace:
        workspace.put({**runner.files, **tiny.files, "tasks.pack": tmp_path / "tasks.pack"})
        records = run_script(workspace, runner, script)
    assert tokens_of(records, script) == [
        tiny.reference(task, PROMPT, STEPS)[0] for task in contents
    ]


def test_times_every_part(host):
    records, _ = host([*LOAD, "switch packs/one.pack", "prefill 1,2,3", "decode 4"])
    program, method, shared, switch, prefill, decode = records[1:]
    times = [program["ms"], method["ms"], shared["ms"], switch["map_ms"], switch["unpack_ms"]]
    times += [prefill["ms"], *decode["ms"]]
    assert min(times) > 0
    assert len(decode["ms"]) == 4


def test_a_thousand_switches_take_no_memory(host):
    switches = ["switch packs/one.pack", "switch packs/two.pack"] * 500
    script = [*LOAD, *switches[:20], "prefill 1,2,3", "memory", *switches, "memory"]
    memory = [step for step in host(script)[0] if "resident" in step]
    assert memory[1]["resident"] - memory[0]["resident"] <= 64 * 1024
    assert memory[1]["peak"] >= memory[1]["resident"]


def test_tells_how_much_of_a_file_is_in_memory(host):
    """A tmpfs is memory: nothing can be evicted there, and a load from it is never cold."""
    records, workspace = host(["evict model.pte shared.pack", "program model.pte"])
    kind = run(["stat", "-L", "-f", "-c", "%T", workspace.path / "model.pte"])
    assert records[0]["resident"] == (1 if kind == "tmpfs" else 0)


def test_writes_an_etdump(host, tmp_path):
    from executorch.devtools import Inspector

    _, workspace = host(["trace trace.etdp", "program baked.pte", "method forward", *SEQUENCE[:2]])
    workspace.get("trace.etdp", tmp_path / "trace.etdp")
    blocks = Inspector(etdump_path=str(tmp_path / "trace.etdp")).event_blocks
    executed = [
        event for block in blocks for event in block.events if event.name == "Method::execute"
    ]
    assert sum(len(event.perf_data.raw) for event in executed) == 1 + STEPS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a pack"),
        (b"HYDRAPK1", "is not a pack"),
        (b"something else" * 9, "is not a pack: expected one that starts with HYDRAPK1"),
        (struct.pack("<8sQ48x", b"HYDRAPK1", 64) + bytes(63), "holds 63 payload bytes, its header"),
        (struct.pack("<8sQ48x", b"HYDRAPK1", 63) + bytes(63), "the program takes 64"),
    ],
)
def test_refuses_a_bad_pack(compiler, tiny, tmp_path, content, message):
    (tmp_path / "bad.pack").write_bytes(content)
    runner = host_runner()
    with Host().workspace() as workspace:
        workspace.put({**runner.files, **tiny.files, "bad.pack": tmp_path / "bad.pack"})
        with pytest.raises(ProfilingError, match=message) as caught:
            run_script(workspace, runner, [*LOAD, "switch bad.pack"])
    assert "line 5 of the script" in str(caught.value)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (["program none.pte"], "line 1 of the script: cannot load none.pte: Error::AccessFailed"),
        (["program model.pte", "method other"], "cannot load method other"),
        (
            ["program model.pte", "switch packs/one.pack"],
            "unpack takes 2 payloads, the script has 1",
        ),
        (["program model.pte", "decode 1"], "decode before prefill"),
        (["prefill 1"], "prefill before any program"),
        (["program model.pte", "dance"], "unknown command dance"),
        ([*LOAD, "switch packs/none.pack"], "cannot open packs/none.pack"),
        ([*LOAD, "switch packs/one.pack", "prefill 1", "decode 64"], "cannot execute forward"),
        (["threads 0"], "expected a positive number, found 0"),
        (["threads -1"], "expected a number, found -1"),
        ([*LOAD, "switch packs/one.pack 0"], "expected FILE or FILE OFFSET LENGTH"),
        ([*LOAD, "switch packs/one.pack 0 1x"], "expected a number, found 1x"),
        ([*LOAD, "switch packs/one.pack 64 999"], "ends after"),
    ],
)
def test_says_which_command_failed(host, script, message):
    with pytest.raises(ProfilingError, match=message):
        host(script)


def test_runs_the_users_own_build(compiler, tier_a, tiny):
    # as an NDK build would be: one program that needs no loader; a script takes its place here
    built = device_runner(tier_a.facts().abi)
    with tier_a.workspace() as workspace:
        workspace.put({**built.files, **tiny.files})
        workspace.write("own", f'#!/bin/sh\nexec {" ".join(built.command)} "$@"\n')
        workspace.device.shell(f"chmod 755 {workspace.path}/own", "make it a program")
        runner = type(built)(("./own",), {})
        assert run_script(workspace, runner, ["program baked.pte"])[0]["ms"] > 0


def test_refuses_a_runner_that_is_not_there(tmp_path):
    with pytest.raises(ProfilingError, match=r"there is no runner .*none; build .*runner\.cpp"):
        own_runner(tmp_path / "none")


def test_refuses_an_abi_without_runner():
    with pytest.raises(ProfilingError, match="no runner for ABI armeabi-v7a, only for x86_64 and"):
        device_runner("armeabi-v7a")


def test_a_device_lost_in_a_run_is_distinguished_from_a_failing_runner(private_adb, tier_a):
    with tier_a.workspace() as workspace:
        result = workspace.run(["sh", "-c", "exit 3"], timeout=10)
        assert result.returncode == 3
        with pytest.raises(DeviceError, match="to the end in 1 s"):
            workspace.run(["sleep", "20"], timeout=1)
