"""The supervised stage of a run: its adapter is trained on traces of roles before any reward (`traces.py`).

It is a part of the run: what it generates is counted, and a run that was cut in it goes through it again and ends with
the same adapter, because traces and training follow from the run's parameters alone. For the same reason conditions
that differ in what comes after it share it: it is made once, kept in the cache, and copied into each run.
"""

import shutil
from pathlib import Path

import pandas as pd
import torch

from studylib import processes
from studylib.names import OBJECTIVES, REWARDS
from studylib.params import RunParams
from studylib.paths import cached
from studylib.policy.products import layers_dtype
from studylib.policy.rollout import rollout, sampler
from studylib.policy.sampling import Sampling
from studylib.policy.supervised import Pair, Recipe, supervised
from studylib.policy.warm_start import start_key
from studylib.runs.contents import contents
from studylib.runs.folder import write_json, written_whole
from studylib.runs.provenance import CODE
from studylib.scenarios.prompts import chat
from studylib.scenarios.rows import digest
from studylib.scenarios.selection import trace_rows
from studylib.text.files import read_object
from studylib.text.tokens import end_tokens, prompt_tokens
from studylib.training.traces import Policy, Trace, budgeted, sampled_traces

FOLDER = "supervised"  # in the run folder: the adapter after this stage
TRACES, STAGE = "traces.parquet", "traces.json"  # what was kept; what it took
# Tokens of traces in a step, so that short traces and long ones make as many steps; steps of linear warm-up.
STEP_TOKENS, WARMUP = 1024, 5
AFTERWARDS = {  # parameters that say what a run is called, or what comes after the stage
    "profile", "axis", "condition", "world", "run_root", "data_dir", "objective", "rewards", "shaping", "combination",
    "steps", "generations", "learning_rate", "beta", "dynamic_sampling", "overlong_cache", "max_grad_norm",
    "eval_scenarios", "eval_samples", "save_every", "eval_every",
    *(option.name for registry in (OBJECTIVES, REWARDS) for record in registry.values() for option in record.options),
}  # fmt: skip


def train_on_traces(trainer, params: RunParams) -> dict | None:
    """Train the policy on traces, or load the adapter of a stage that is complete; returns `stage_facts`.

    None where a run has no such stage. Raises ValueError where the policy yields no trace that could be trained on.
    """
    if params.traces == "none":
        return None
    processes.require_one("training on traces")
    run_dir = params.run_dir
    if stage_facts(run_dir) is None:
        rows = trace_rows(params)
        made = cached("traces", _key(params, rows), lambda folder: _make(trainer, params, rows, folder))
        shutil.copytree(made / FOLDER, run_dir / FOLDER, dirs_exist_ok=True)
        shutil.copy(made / TRACES, run_dir / TRACES)
        write_json(run_dir / STAGE, read_object(made / STAGE))  # last: its presence means that the stage is complete
    trainer.model.load_adapter(run_dir / FOLDER, "default", is_trainable=True)
    return stage_facts(run_dir)


def _key(params: RunParams, rows: list[dict]) -> str:
    """Hash of all that the stage depends on."""
    of_run = {name: value for name, value in params.as_dict().items() if name not in AFTERWARDS}
    machine = [str(layers_dtype()), torch.__version__]
    return digest(start_key(params), of_run, [row["id"] for row in rows], machine, contents(params), CODE)


def _make(trainer, params: RunParams, rows: list[dict], folder: Path) -> None:
    """Sample traces, train on them, and write adapter, traces and what they took into `folder`."""
    spent = {"generated_tokens": 0}
    traces = sampled_traces(rows, params, _policy(trainer, params, spent))
    if not traces:
        raise ValueError(
            f"no trace of {len(rows)} scenarios could be kept: from a role the policy gives no readable answer, or "
            f"merged traces are longer than max_new_tokens = {params.max_new_tokens}"
        )
    taken = budgeted(traces, params.trace_tokens, params.seed)
    losses = _train(trainer, params, rows, taken)
    trainer.model.save_pretrained(folder / FOLDER)
    _write(folder / TRACES, traces)
    write_json(folder / STAGE, {
        **spent, "scenarios": len(rows), "scenarios_with_traces": len({trace.scenario for trace in traces}),
        "traces": len(traces), "roles_per_trace": sum(map(_roles_of, traces)) / len(traces),
        "supervised_traces": len(taken), "supervised_tokens": sum(len(trace.tokens) for trace in taken),
        "steps": len(losses), "loss_first": losses[0], "loss_last": losses[-1],
    })  # fmt: skip


def _roles_of(trace: Trace) -> int:
    return len(set(trace.roles.split("; ")))


def stage_facts(run_dir: Path) -> dict | None:
    """What the stage of a run took and gave: tokens generated and trained on, traces, roles; None where it has none."""
    path = run_dir / STAGE
    return read_object(path) if path.is_file() else None


def _policy(trainer, params: RunParams, spent: dict) -> Policy:
    """The untrained policy; `spent` counts the tokens that it generates."""
    tokenizer = trainer.processing_class
    ends = end_tokens(trainer.model, tokenizer)
    how = Sampling(params.max_new_tokens, ends, params.temperature)

    def sample(prompts, keys):
        model = sampler(params, trainer.model)
        pad = tokenizer.pad_token_id
        answers = rollout(model, prompts, keys, how, pad, params.rollout_batch, params.rollout_compile)
        spent["generated_tokens"] += sum(map(len, answers))
        return answers

    return Policy(tokenizer, ends, sample)


def _train(trainer, params: RunParams, rows: list[dict], traces: list[Trace]) -> list[float]:
    """Loss of every step."""
    ids = prompt_tokens(trainer.processing_class, [chat(row, params.instructed) for row in rows])
    prompts = dict(zip((row["id"] for row in rows), ids, strict=True))
    pairs = [Pair(prompts[trace.scenario], trace.tokens) for trace in traces]
    batch = max(1, round(STEP_TOKENS * len(traces) / sum(len(trace.tokens) for trace in traces)))
    recipe = Recipe(batch, min(batch, params.rows_per_pass), params.trace_learning_rate, WARMUP)
    trainer.model.train()
    return supervised(trainer.model, pairs, trainer.processing_class.pad_token_id, recipe)


def _write(path: Path, traces: list[Trace]) -> None:
    columns = ["scenario", "roles", "answer", "response", "tokens"]
    table = pd.DataFrame([trace._replace(tokens=len(trace.tokens)) for trace in traces], columns=columns)
    with written_whole(path) as scratch:
        table.to_parquet(scratch)
