"""Wrong requests: options that do not go together, names of nothing, values out of range."""

from collections.abc import Iterator

from .case import Case
from .options import ADAPTERS, COMMANDS, TRAIN

AVERAGE = ("merge", "alpha", "beta", "--method", "average")
MERGE = ("merge", *ADAPTERS, "--method")
COMPRESS = ("compress", *ADAPTERS)
RUN = ("run", "bundle", "--task", "alpha")
WRONG = {
    "no such command": (("nonsense",), "No such command 'nonsense'"),
    "no such option": ((*COMPRESS, "--surprise"), "No such option: --surprise"),
    "a command of a megabyte": (("x" * (1 << 20),), "No such command"),
    "no adapters": (("compress", "-o", "out"), "Missing argument"),
    "no output": (("compress", "alpha"), "Missing option '--output'"),
    "an option without its value": (("compress", "alpha", "-o"), "requires an argument"),
    "two bundles": (("verify", "bundle", "bundle"), "unexpected extra argument"),
    "no such method": ((*MERGE, "mean"), "no merging method 'mean'; expected one of "),
    "no such setting": ((*MERGE, "average", "--set", "a=1"), "has no option a"),
    "a setting twice": (
        (*MERGE, "ties", "--set", "rank=1", "--set", "rank=2"),
        "gives 'rank' twice",
    ),
    "a setting without value": ((*MERGE, "ties", "--set", "rank"), "expected NAME=VALUE"),
    "a setting without name": ((*MERGE, "ties", "--set", "=2"), "expected NAME=VALUE"),
    "a setting of a megabyte": ((*MERGE, "ties", "--set", "x" * (1 << 20)), "expected NAME=VALUE"),
    **{
        f"{setting} of {method}": ((*MERGE, method, "--set", setting), setting.split("=")[0])
        for method, settings in {
            "ties": ("density=nan", "density=2", "density=-1", "scale=inf", "rank=0", "rank=x"),
            "hydraopt": ("clusters=0", "clusters=3", "rank=0", "rank=-1", "clusters=" + "9" * 400),
            "average": ("rank=0", "rank=1.5", "rank=-" + "9" * 400),
            "dare": ("density=0", "density=1.5", "density=x"),
        }.items()
        for setting in settings
    },
    "data that a method does not take": (
        (*MERGE, "ties", "--base", "base", "--data", "data.jsonl"),
        "takes neither --base nor --data",
    ),
    "no data for a method that needs it": ((*MERGE, "zipit"), "needs --base and --data"),
    **{
        f"budget {budget[:20]}": ((*COMPRESS, "--budget", budget), "budget")
        for budget in (
            *("ten", "0%", "0", "-1%", "1", "nan%", "inf%", "1e3%", "10", "10 %%", "1TB", "%"),
            *("9" * 400 + "%", "9" * 400 + "MB", "1B", "1kB"),
        )
    },
    "a budget and a drop": ((*COMPRESS, "--budget", "9%", "--max-drop", "1"), "drop --budget"),
    "a drop without data": ((*COMPRESS, "--max-drop", "1"), "go together"),
    "a drop below 0": ((*COMPRESS, "--max-drop", "-1"), "--max-drop"),
    "calibration without base": ((*COMPRESS, "--calibration", "data.jsonl"), "pass --base"),
    "bfloat16 without calibration": ((*COMPRESS, "--bf16"), "--bf16 goes with"),
    "neither prompt nor ids": (RUN, "either --prompt or --ids"),
    "prompt and ids": ((*RUN, "--prompt", "a", "--ids", "1"), "either --prompt or --ids"),
    "chat with ids": ((*RUN, "--chat", "--ids", "1"), "--chat goes with --prompt"),
    **{
        f"ids {ids[:20]!r}": ((*RUN, "--ids", ids), says)
        for ids, says in {
            "1,x": "expected integers",
            "1,,2": "expected integers",
            ",": "expected integers",
            "1.5": "expected integers",
            "-1": "outside the vocabulary",
            "258": "outside the vocabulary",
            "9" * 400: "expected integers",
            ",".join("1" * 40): "expected at most 31",
        }.items()
    },
    "a prompt that is too long": ((*RUN, "--prompt", "a" * 40), "expected at most 31"),
    "chat without a template": ((*RUN, "--chat", "--prompt", "a"), "no chat template"),
    **{
        f"{option} {value}": ((*RUN, "--ids", "1", "--temperature", "1", option, value), says)
        for option, value, says in (
            ("--top-p", "0", "top_p is 0"),
            ("--top-p", "1.5", "top_p is 1.5"),
            ("--top-k", "0", "top_k is 0"),
            ("--seed", "-1", "seed is -1"),
            ("--seed", str(2**64), "seed is"),
        )
    },
    "a temperature below 0": ((*RUN, "--ids", "1", "--temperature", "-1"), "temperature is -1"),
    "sampling without temperature": ((*RUN, "--ids", "1", "--top-k", "2"), "does nothing without"),
    "no such task to run": (("run", "bundle", "--task", "x", "--ids", "1"), "there are: alpha"),
    "no such update": (("install", "bundle", "nowhere"), "nowhere is no update of this bundle"),
    "an update that is a table": (("install", "bundle", "data.jsonl"), "is damaged or half"),
    "a signature of nothing": (
        ("add", "bundle", "gamma", "--task", "x", "--sign", "data.jsonl"),
        "say where to write it",
    ),
    "no such task to remove": (("remove", "bundle", "--task", "x"), "there are: alpha"),
    "no such task to unmerge": (
        ("unmerge", "merged", "--task", "x", "-o", "out"),
        "there are: alpha",
    ),
    "a task that is there": (("add", "bundle", "gamma", "--task", "Alpha"), "has a task 'Alpha'"),
    **{
        f"task {task[:20]!r}": (("add", "bundle", "gamma", "--task", task), "task name")
        for task in ("", ".", "..", "a/b", "/etc/passwd", "a b", "-x", "x" * 101, "a\nb", "\udcff")
        if not task.startswith("-")
    },
    **{
        f"name {name!r}": (("merge", f"{name}=alpha", "-o", "out", "--method", "average"), says)
        for name, says in {"a/b": "task name", "..": "task name", "": "task name"}.items()
        if name
    },
    "two adapters of one name": (("compress", "alpha", "alpha", "-o", "out"), "2 adapters are"),
    "no such adapter": (("compress", "nothing/at/all", "-o", "out"), "no adapter directory"),
    "an adapter that is a file": (("compress", "data.jsonl", "-o", "out"), "is a file, expected"),
    "an adapter that is a bundle": (("compress", "bundle", "-o", "out"), "is missing"),
    "a sparse adapter as LoRA": (("compress", "sparse", "-o", "out"), "sparse adapter"),
    "information on nothing": (("info", "nowhere"), "is not an adapter, compressed"),
    "information on a file": (("info", "data.jsonl"), "is not an adapter, compressed"),
    "a bundle that is merged": (("verify", "merged"), "manifest.json is missing"),
    "an export of a bundle": (("export", "bundle", "--base", "base", "-o", "out"), "adapters.json"),
    "an export on nothing": (("export", "merged", "--base", "x", "-o", "out"), "neither a dir"),
    "an export on an adapter": (
        ("export", "merged", "--base", "alpha", "-o", "out"),
        "is an adapter",
    ),
    **{
        f"export {' '.join(given)[:40]}": (
            ("export", "merged", "--base", "base", "-o", "out", *given),
            says,
        )
        for given, says in {
            ("--quantize", "9w"): "8da4w",
            ("--embedding", "1w"): "4w",
            ("--attention", "flash"): "portable",
            ("--swap", "never"): "methods",
            ("--max-length", "0"): "length",
            ("--max-length", "-1"): "length",
            ("--max-length", "1"): "length",
            ("--max-length", "100000"): "length",
            ("--prefill-length", "0"): "prefill",
            ("--prefill-length", "100"): "prefill",
            ("--base-size", "110"): "bytes like 12MB",
            ("--base-size", "0%"): "bytes like 12MB",
            ("--base-size", "85%", "--quantize", "8da8w"): "leave either out",
            ("--static",): "",
        }.items()
    },
    **{
        f"output over {there}": ((*AVERAGE, "-o", there, *overwrite), says)
        for there, overwrite, says in (
            ("merged", (), "exists already"),
            ("alpha", ("--overwrite",), "is not overwritten"),
            ("base", ("--overwrite",), "is not overwritten"),
            ("bundle", ("--overwrite",), "is not overwritten"),
            ("data.jsonl", ("--overwrite",), "is a file"),
            (".", ("--overwrite",), "holds the current directory"),
            ("..", ("--overwrite",), "holds the current directory"),
            ("/", ("--overwrite",), "holds the current directory"),
            ("data.jsonl/out", (), "cannot write"),
            ("/proc/out", (), "cannot write"),
            ("x" * 300, (), "File name too long"),
        )
    },
    "an input as output": (
        ("export", "merged", "--base", "base", "-o", "merged", "--overwrite"),
        "not overwritten",
    ),
    "the input of unmerge as output": (
        ("unmerge", "merged", "--task", "alpha", "-o", "merged", "--overwrite"),
        "not overwritten",
    ),
    **{
        f"train sparse {option} {value}": (("train", "sparse", *TRAIN, option, value), says)
        for option, value, says in (
            ("--keep", "0", "keep"),
            ("--keep", "2", "keep"),
            ("--rate", "0", "rate"),
            ("--rate", "-1", "rate"),
            ("--batch", "0", "batch"),
            ("--steps", "0", "steps"),
            ("--seed", "-1", "seed"),
            ("--targets", "", "target|layer"),
            ("--targets", "nothing", "nothing"),
            ("--targets", ",", "target|layer"),
            ("--data", "nowhere.jsonl", "cannot read nowhere.jsonl"),
            ("--base", "nowhere", "cannot load base model"),
        )
    },
    **{
        f"train hydralora {option} {value}": (("train", "hydralora", *TRAIN, option, value), says)
        for option, value, says in (
            ("--experts", "1", "experts"),
            ("--experts", "-1", "experts"),
            ("--rank", "0", "rank"),
            ("--alpha", "0", "alpha"),
            ("--alpha", "-3", "alpha"),
            ("--rate", "0", "rate"),
        )
    },
    "nothing to resume": (("train", "sparse", *TRAIN, "--resume"), "there is no checkpoint"),
    "project to rank 0": (("sparse", "project", "sparse", "-o", "out", "--rank", "0"), "rank"),
    "merge of LoRA as sparse": (("sparse", "merge", "alpha", "-o", "out"), "sparse.json"),
    **{
        f"threshold {text[:10]}": (
            ("compare", "results", "results", "--threshold", text),
            "--threshold",
        )
        for text in ("x", "", "%", "nan", "inf%", "9" * 400)
    },
    "an evaluation of nothing": (
        ("evaluate", "nowhere", "--examples", "data.jsonl"),
        "manifest.json is missing",
    ),
    **{
        f"evaluate {' '.join(given)[:40]}": ((*COMMANDS["evaluate"], *given), says)
        for given, says in {
            ("--examples", "nowhere.jsonl"): "cannot read nowhere.jsonl",
            ("--examples", "base"): "cannot read base",
            ("--chat",): "no chat template",
            ("--base", "base"): "pass both",
            ("--adapters", "alpha"): "pass both",
            ("--base", "base", "--adapters", "alpha"): "task 'beta' has examples and no adapter",
            ("--base", "base", "--adapters", "nowhere"): "no adapter directory",
            ("--against", "merged"): "manifest.json is missing",
            ("-o", "scores"): "does not end in .png",
            ("-o", "base"): "does not end in .png",
            ("-o", "nowhere/scores.png"): "there is no directory nowhere",
        }.items()
    },
    "a profile of nothing": (("profile", "nowhere", "--serial", "host"), "manifest.json is miss"),
    "threads of a profile": (
        ("profile", "bundle", "--serial", "host", "--threads", "0"),
        "thread",
    ),
    "numbers of tasks that are none": (
        ("frontier", "-o", "out", "--tasks", "0,x"),
        "--tasks",
    ),
    "budgets that are none": (("frontier", "-o", "out", "--budgets", "0,200"), "--budgets"),
    "a frontier without base": (("frontier", "alpha", "-o", "out"), "--base and --data"),
    "a GGUF file that is text": (("base", "from-gguf", "data.jsonl", "-o", "out"), "a GGUF file:"),
    "a GGUF file that is a folder": (("base", "from-gguf", "base", "-o", "out"), "not a regular"),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (command, says) in WRONG.items():
        yield Case(name, command, says)
