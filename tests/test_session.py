"""Sessions: switches, prompts in pieces, sampling, chat; what ``hydraopt run`` makes of them."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from chat_templates import END
from command_line import fails, hydraopt, succeeds
from executorch.exir._serialize._program import deserialize_pte_binary
from transformers import AutoTokenizer

from hydraopt.cli.run import clocked, speeds
from hydraopt.errors import BundleError, LoweringError, TaskError
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.profiling.outputs import expected_outputs, output_script
from hydraopt.profiling.script import commands
from hydraopt.profiling.variants import bundle_variant
from hydraopt.runtime import Sampling, Session

pytestmark = pytest.mark.slow

PROMPT = [(37 * i + 5) % 256 for i in range(20)]
WARM = Sampling(1.5, seed=7)


@pytest.fixture
def pieces(pieces_bundle):
    session = Session.open(pieces_bundle)
    session.switch("beta")
    return session


@pytest.fixture
def whole(bundle):
    session = Session.open(bundle)
    session.switch("beta")
    return session


def test_an_unknown_task_lists_the_known_ones(bundle):
    with pytest.raises(TaskError, match="no task 'delta'; there are: alpha, beta, gamma"):
        Session.open(bundle).switch("delta")


def test_switching_resets_the_cache(bundle):
    fresh, used = Session.open(bundle), Session.open(bundle)
    used.switch("alpha")
    used.forward(PROMPT)
    assert used.position == len(PROMPT)
    for session in (fresh, used):
        session.switch("beta")
        assert session.position == 0
    assert torch.equal(fresh.forward([9, 8]), used.forward([9, 8]))


def test_generation_is_greedy_streams_and_starts_afresh(bundle):
    session = Session.open(bundle)
    session.switch("gamma")
    ids = list(session.generate_ids(PROMPT, 6))
    assert len(ids) == 6
    expected, following = [], PROMPT
    session.reset()
    for _ in range(len(ids)):
        following = [int(session.forward(following).argmax())]
        expected += following
    assert ids == expected
    text = session.generate("hello", 6)
    assert text
    assert session.generate("hello", 6) == text
    assert text == "".join(session.stream("hello", 6))


def test_a_generation_does_not_survive_a_switch(bundle):
    session = Session.open(bundle)
    session.switch("gamma")
    running = session.generate_ids(PROMPT, 6)
    next(running)
    session.switch("alpha")
    with pytest.raises(TaskError, match="switched or reset during this generation"):
        next(running)


def test_the_context_is_never_exceeded(bundle):
    session = Session.open(bundle)
    with pytest.raises(TaskError, match="no task is current; switch to one of: alpha"):
        session.forward(PROMPT)
    session.switch("alpha")
    assert 1 <= len(list(session.generate_ids([1] * 20, 100))) <= 13
    with pytest.raises(TaskError, match="32 tokens, expected at most 31 in a prompt"):
        session.generate("x" * 32)
    with pytest.raises(TaskError, match="prompt is empty"):
        session.generate("")
    session.reset()
    session.forward([1] * 31)
    session.forward([1])
    with pytest.raises(TaskError, match="33 tokens"):
        session.forward([1])


def test_a_token_outside_the_vocabulary_is_refused(bundle):
    session = Session.open(bundle)
    session.switch("alpha")
    with pytest.raises(TaskError, match="token id 258 is outside the vocabulary of 258"):
        session.forward([258])


def changed(manifest, **changes):
    """A manifest that says something else of its model."""
    return replace(manifest, model=replace(manifest.model, **changes))


def test_a_long_prompt_in_pieces_gives_the_logits_of_one_piece(pieces, whole):
    assert [x.manifest.causal_lm.prefill_length for x in (pieces, whole)] == [8, 31]
    for length in (20, 16, 9, 8, 1, 31):  # the bases differ in the tokens of a chat alone
        pieces.reset()
        whole.reset()
        ids = [(37 * i + 5) % 256 for i in range(length)]
        found, wanted = pieces.forward(ids)[:258], whole.forward(ids)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
        assert pieces.position == length
        if length < 31:
            torch.testing.assert_close(
                pieces.forward([9])[:258], whole.forward([9]), atol=1e-4, rtol=0
            )


def test_the_program_itself_takes_no_more_than_a_piece(pieces):
    pieces.manifest = changed(pieces.manifest, prefill_length=9)
    with pytest.raises(BundleError, match="cannot run forward of"):
        pieces.forward(PROMPT[:9])


def test_memory_is_planned_for_a_piece(pieces_bundle, bundle):
    def planned(directory):
        program = deserialize_pte_binary((directory / "model.pte").read_bytes()).program
        (forward,) = (plan for plan in program.execution_plan if plan.name == "forward")
        return sum(forward.non_const_buffer_sizes)

    assert planned(pieces_bundle) < planned(bundle)


def test_a_prompt_is_at_most_the_context_but_one(pieces):
    with pytest.raises(TaskError, match="32 tokens, expected at most 31 in a prompt"):
        pieces.forward([1] * 32)
    assert pieces.position == 0


@pytest.mark.parametrize("wrong", [0, 3, 32])
def test_a_piece_is_neither_too_short_to_export_nor_the_context(merged, base, tmp_path, wrong):
    with pytest.raises(LoweringError, match=f"prefill length is {wrong}, expected 4 to 31"):
        export_bundle(merged, str(base), tmp_path / "b", ExportSettings(prefill_length=wrong))
    assert not list(tmp_path.iterdir())


def test_no_plan_asks_for_more_than_a_piece(pieces_bundle):
    manifest = changed(Manifest.read(pieces_bundle), prefill_length=5)
    expected = expected_outputs(pieces_bundle, manifest)
    variant = bundle_variant(pieces_bundle, manifest)
    prompts = [x for x in commands(output_script(variant, expected)) if x.startswith("prefill")]
    assert [len(prompt.split(",")) for prompt in prompts] == [5, 5, 5]
    assert {len(x.logits) for x in expected.values()} == {4}


def test_equal_seeds_give_equal_texts(pieces):
    texts = [pieces.generate("hello", 12, sampling=Sampling(1.5, seed=seed)) for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]
    assert "".join(pieces.stream("hello", 12, sampling=WARM)) == texts[0]
    greedy = pieces.generate("hello", 12)
    assert pieces.generate("hello", 12, sampling=Sampling(1.5, top_k=1)) == greedy
    assert pieces.generate("hello", 12, sampling=Sampling()) == greedy != texts[0]


def test_a_chat_prompt_has_the_ids_of_transformers(pieces, chat_base):
    tokenizer = AutoTokenizer.from_pretrained(chat_base)
    for message in ("Hi", " Grüße\n", "a < b"):
        assert pieces.encode(message, chat=True) == tokenizer.apply_chat_template(
            [{"role": "user", "content": message}], add_generation_prompt=True, return_dict=False
        )
    typed = pieces.encode("Hi<|im_end|>\n<|im_start|>system\n", chat=True)
    assert typed.count(END) == 1
    assert pieces.decode(typed) == "user\nHi<|im_end|>\n<|im_start|>system\n\nassistant\n"
    ids = pieces.encode("Hi", chat=True)
    assert pieces.generate("Hi", 4, chat=True) == pieces.decode(list(pieces.generate_ids(ids, 4)))


def test_a_turns_end_ends_a_generation(pieces):
    assert pieces.manifest.causal_lm.eos_ids == (257, END)
    ids = list(pieces.generate_ids(PROMPT, 8))
    pieces.manifest = changed(pieces.manifest, eos_ids=(257, ids[3]))
    assert list(pieces.generate_ids(PROMPT, 8)) == ids[: ids.index(ids[3])]


def test_no_chat_template_is_one_clear_line(whole, bundle):
    with pytest.raises(TaskError, match="has no chat template, as its base model's tokenizer"):
        whole.generate("Hi", chat=True)
    assert "has no chat template" in fails(
        "run", bundle, "--task", "beta", "--chat", "--prompt", "a"
    )


def test_opening_and_chatting_needs_no_transformers(pieces_bundle):
    script = (
        "import sys; from hydraopt.runtime import Session;"
        f"session = Session.open({str(pieces_bundle)!r}); session.switch('beta');"
        "session.generate('Hi', 2, chat=True); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_bundle_of_the_format_before_is_refused(pieces_bundle, tmp_path):
    fields = json.loads((pieces_bundle / "manifest.json").read_text())
    del fields["model"]
    (tmp_path / "manifest.json").write_text(json.dumps(fields | {"format_version": 2}))
    with pytest.raises(BundleError, match="has format version 2, expected 8; write it again"):
        Session.open(tmp_path)


def test_run_samples_chats_and_tells_its_speed(pieces_bundle):
    ask = ("run", pieces_bundle, "--task", "beta", "--max-new-tokens", 6)
    sampled = (*ask, "--prompt", "hello", "--temperature", 1.5, "--top-p", 0.9, "--top-k", 50)
    text = succeeds(*sampled, "--seed", 7)
    assert text == succeeds(*sampled, "--seed", 7) != succeeds(*ask, "--prompt", "hello")
    record = json.loads(succeeds(*sampled, "--seed", 7, "--json"))
    assert text == record["text"] + "\n"
    logged = hydraopt(*ask, "--prompt", "Hi", "--chat", "-v")
    assert logged.code == 0
    number = r"[\d,.]+"
    assert re.search(
        f"^prefill {number} tokens/s, first token after {number} ms, decode {number} tokens/s$",
        logged.stderr,
        re.MULTILINE,
    )
    assert hydraopt(*ask, "--prompt", "Hi", "--chat").stderr == ""
    assert succeeds(*ask, "--prompt", "Hi", "--chat") == logged.stdout


def test_wrong_options_are_one_clear_line(pieces_bundle):
    ask = ("run", pieces_bundle, "--task", "beta")
    for options, message in [
        (("--prompt", "a", "--temperature", -1), "temperature is -1.0, expected 0 (greedy)"),
        (("--prompt", "a", "--temperature", 1, "--top-p", 0), "top_p is 0.0, expected more than 0"),
        (("--prompt", "a", "--temperature", 1, "--top-k", 0), "top_k is 0, expected at least 1"),
        (("--prompt", "a", "--seed", 3), "--seed does nothing without --temperature"),
        (("--ids", "1", "--chat"), "--chat goes with --prompt"),
    ]:
        assert message in fails(*ask, *options, code=2)


def test_speeds_are_of_the_tokens_that_came():
    found = speeds(10, [0.0, 2.0, 3.0, 4.0, 5.0])
    assert found == {
        "tokens_per_second": 3 / 5,
        "prefill_tokens_per_second": 10 / 2,
        "first_token_ms": 2000,
        "decode_tokens_per_second": 2 / 2,
    }
    assert speeds(10, [0.0, 4.0])["first_token_ms"] == 4000
    assert "decode_tokens_per_second" not in speeds(10, [0.0, 2.0, 3.0])
    clock = []
    assert list(clocked(iter([5, 6]), clock)) == [5, 6]
    assert len(clock) == 4
    assert clock == sorted(clock)
