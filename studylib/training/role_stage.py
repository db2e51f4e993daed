"""The supervised stage of a run: its adapter is trained on traces of roles before any reward (`traces.py`).

It is a part of the run: what it generates is counted, and a run that was cut in it goes through it again and ends with
the same adapter, because traces and training follow from the run's parameters alone.
"""

from pathlib import Path

import pandas as pd

from studylib import processes
from studylib.params import RunParams
from studylib.policy.rollout import rollout, sampler
from studylib.policy.sampling import Sampling
from studylib.policy.supervised import Pair, Recipe, supervised
from studylib.runs.folder import write_json, written_whole
from studylib.scenarios.prompts import chat
from studylib.scenarios.selection import trace_rows
from studylib.text.files import read_object
from studylib.text.tokens import end_tokens, prompt_tokens
from studylib.training.traces import Policy, Trace, budgeted, sampled_traces

FOLDER = "supervised"  # in the run folder: the adapter after this stage
TRACES, STAGE = "traces.parquet", "traces.json"  # what was kept; what it took
# Tokens of traces in a step, so that short traces and long ones make as many steps; steps of linear warm-up.
STEP_TOKENS, WARMUP = 1024, 5


def train_on_traces(trainer, params: RunParams) -> dict | None:
    """Train the policy on traces, or load the adapter of a stage that is complete; returns `stage_facts`.

    None where a run has no such stage. Raises ValueError where the policy yields no trace that could be trained on.
    """
    if params.traces == "none":
        return None
    processes.require_one("training on traces")
    if (facts := stage_facts(params.run_dir)) is not None:
        trainer.model.load_adapter(params.run_dir / FOLDER, "default", is_trainable=True)
        return facts
    rows = trace_rows(params)
    spent = {"generated_tokens": 0}
    traces = sampled_traces(rows, params, _policy(trainer, params, spent))
    if not traces:
        raise ValueError(
            f"no trace of {len(rows)} scenarios could be kept: from a role the policy gives no readable answer, or "
            f"merged traces are longer than max_new_tokens = {params.max_new_tokens}"
        )
    _write(params.run_dir / TRACES, traces)
    taken = budgeted(traces, params.trace_tokens, params.seed)
    losses = _train(trainer, params, rows, taken)
    trainer.model.save_pretrained(params.run_dir / FOLDER)
    facts = {
        **spent, "scenarios": len(rows), "scenarios_with_traces": len({trace.scenario for trace in traces}),
        "traces": len(traces), "roles_per_trace": sum(map(_roles_of, traces)) / len(traces),
        "supervised_traces": len(taken), "supervised_tokens": sum(len(trace.tokens) for trace in taken),
        "steps": len(losses), "loss_first": losses[0], "loss_last": losses[-1],
    }  # fmt: skip
    write_json(params.run_dir / STAGE, facts)  # last: its presence means that the stage is complete
    return facts


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
