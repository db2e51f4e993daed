"""Miniature runs that one process makes and that two make together; under torchrun this file makes the latter.

torchrun ... shared_runs.py ROOT: the parameters of every run lie in ROOT/cases.json; ROOT/told<rank>.json gets what the
processes said to each other.
"""

import json
import shutil
import sys
from pathlib import Path

from studylib import processes
from studylib.params import RunParams
from studylib.run import run
from studylib.scenarios.selection import select
from studylib.training.checkpoints import COMPLETE
from studylib.training.train import prepare, train

SEEN = "seen.jsonl"  # in a run folder: every batch of texts that was graded
COMMON = {
    "answers_per_step": 16, "micro_batch": 4, "steps": 3, "learning_rate": 0.01, "max_grad_norm": 1.0,
    "rewards": "correct=1 format=0",
}  # fmt: skip
CASES = {  # run -> its parameters beside COMMON
    "grpo": {"save_every": 1},
    "two_updates": {"updates_per_batch": 2},
    "pass_each": {"micro_batch": 8},
    "one_pass": {"micro_batch": 16},
    "dapo": {"objective": "dapo", "dynamic_sampling": 2, "max_new_tokens": 6, "overlong_cache": 0.5},
    "gflowrl": {"objective": "gflowrl", "beta": 0.01},
    "flowrl": {"objective": "flowrl", "beta": 0.01},
    "ppo": {"objective": "ppo", "beta": 0.05},
    "reinforce_pp": {"objective": "reinforce_pp", "beta": 0.05},
    "more": {"combination": "more", "rewards": "correct=1 format=1 inverted=1"},
    "dpo": {"objective": "dpo", "beta": 0.1},
}
WHOLE = {"steps": 4, "eval_every": 2}  # a whole run, with evaluation and looks


def spaces(text: str) -> float:
    return text.count(" ") / max(len(text), 1)


def many_spaces(text: str) -> float:
    return float(text.count(" ") > 6)


def length(text: str) -> float:
    return len(text) / 50


def rewards(params: RunParams) -> list:
    """As many as the run has: what untrained answers differ in; for dapo with ties, so that groups are idle."""
    functions = [many_spaces if params.objective == "dapo" else spaces, length, many_spaces]
    return [as_trl_calls_it(function, params) for function in functions[: len(params.reward_weights)]]


def as_trl_calls_it(function, params: RunParams):
    def scored(completions, **columns):
        texts = [chat[0]["content"] for chat in completions]
        if function is not length:
            with (params.run_dir / SEEN).open("a") as file:
                file.write(json.dumps(texts) + "\n")
        return [function(text) for text in texts]

    return scored


def make(name: str, params: RunParams) -> None:
    if name in CASES:
        params.run_dir.mkdir(parents=True, exist_ok=True)
        train(prepare(params, select(params)["train"], rewards=rewards(params)), params)
    else:
        run(params, lambda rows: rewards(params))


def stop_after(step: int, params: RunParams) -> None:
    """Make a finished run one that was killed while it wrote the checkpoint after `step`."""
    for late in ("manifest.json", "summary.json", "responses.parquet"):
        (params.run_dir / late).unlink()
    shutil.rmtree(params.run_dir / "adapter")
    for folder in (params.run_dir / "checkpoints").iterdir():
        if folder.is_dir() and int(folder.name.split("-")[1]) >= step:
            (folder / COMPLETE).unlink()


# --- two processes ---


def error_of(function, *args) -> str:
    try:
        return f"no error: {function(*args)}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def told(params: RunParams) -> dict:
    """What the functions of `processes` give, and which errors reach this process."""
    import torch

    own = [torch.full((2, 2), 1.0 + rank_of_this()), torch.full((3,), 10.0 * rank_of_this())]
    processes.summed(own)
    lists = {"both": [1.0], f"own{rank_of_this()}": [2.0]}
    processes.merged(lists)

    def broken(completions, **columns):
        raise ValueError("no grade")

    return {
        "rank": rank_of_this(),
        "dealt": processes.dealt(lambda i: (i, rank_of_this()), [(i,) for i in range(5)]),
        "summed": [x.flatten().tolist() for x in own],
        "merged": lists,
        "of_first": processes.of_first(rank_of_this),
        "only_first": processes.only_first(lambda: 7),
        "error of the first": error_of(processes.of_first, unsendable),
        "error of the second": error_of(processes.of_all, second_fails),
        "error of a reward": error_of(
            lambda: train(prepare(params, select(params)["train"], rewards=[broken] * 2), params)
        ),
        "engine": error_of(prepare, RunParams(**{**params.as_dict(), "engine": "trl"}), select(params)["train"]),
    }


def rank_of_this() -> int:
    return 0 if processes.is_first() else 1


def unsendable():
    class Local(Exception):
        pass

    raise Local("cannot be pickled")


def second_fails():
    if not processes.is_first():
        raise ValueError("the second fails")


def main(root: Path) -> None:
    processes.join()
    runs = {name: RunParams(**given) for name, given in json.loads((root / "cases.json").read_text()).items()}
    for name, params in runs.items():
        if name != "resumed":
            make(name, params)
    processes.of_first(shutil.copytree, runs["whole"].run_dir, runs["resumed"].run_dir)
    processes.of_first(stop_after, 4, runs["resumed"])
    make("resumed", runs["resumed"])
    other = RunParams(**{**runs["grpo"].as_dict(), "run_root": str(root / "broken")})
    (root / f"told{rank_of_this()}.json").write_text(json.dumps(told(other)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
