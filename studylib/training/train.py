"""A training run from its parameters: `prepare` makes policy and trainer, `train` takes them to the end."""

from collections.abc import Callable

from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback

from studylib import processes
from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.policy.models import check_gradients, load_policy, load_tokenizer, lora, require_device, require_positions
from studylib.rewards import Grader, batch_reward
from studylib.runs.folder import is_complete
from studylib.scenarios.prompts import chat
from studylib.text.tokens import prompt_tokens
from studylib.training import mixing
from studylib.training.checkpoints import newest_checkpoint, optimiser_step, restore
from studylib.training.config import grpo_config, overlong
from studylib.training.idle import idle_message
from studylib.training.log import RunLog
from studylib.training.preferences import dpo_trainer, sample_pairs
from studylib.training.role_stage import train_on_traces
from studylib.training.told import right_answers
from studylib.training.trainer import PairTrainer, StudyTrainer


def prepare(
    params: RunParams, train_rows: list[dict], judge: Grader | None = None, rewards: list | None = None
) -> StudyTrainer:
    """Policy and trainer, untrained. Checks the machine first and the 4-bit gradients last.

    `judge` grades the rubric where `rubric_grader` is 'judge'. `rewards`: functions as TRL calls them, in place of
    those named in `params.rewards` and with their weights. Prints a note where a setting cannot have any effect. Joins
    the other processes where torchrun started several.
    """
    processes.join()
    require_device(params)
    notes = idle_message(params), _idle_update(params), _idle_process(params), _no_ratio(params)
    for message in filter(None, notes):
        print(f"note: {message}")
    right = right_answers(params, train_rows)
    if processes.size() > 1:
        processes.only_first(load_tokenizer, params)  # makes the tiny model, which the others then find
    model, tokenizer = load_policy(params)
    chats = [chat(row, instruct=params.instructed) for row in train_rows]
    rows = [{"prompt": asked, "id": row["id"], "options": row["options"], "right": options}
            for asked, row, options in zip(chats, train_rows, right, strict=True)]  # fmt: skip
    require_positions(model, prompt_tokens(tokenizer, chats), params.max_new_tokens)
    trainer = StudyTrainer(
        model=model,
        processing_class=tokenizer,
        params=params,
        scenario_ids={row["prompt"][-1]["content"]: row["id"] for row in rows},
        args=grpo_config(params),
        reward_funcs=[
            *(rewards or [trl_reward(name, train_rows, params, judge) for name in params.reward_weights]),
            *overlong(params),
            *[mixing.mixed] * mixing.has_mixture(params),
        ],
        train_dataset=Dataset.from_list(rows or [{"prompt": [], "id": "", "options": [], "right": []}]),
        peft_config=lora(params),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.gradient_change = check_gradients(trainer.model, tokenizer)
    return trainer


def _idle_update(params: RunParams) -> str | None:
    """A group is trained on in one update, so with fewer groups than updates some updates train on nothing."""
    groups = params.answers_per_step // params.generations
    if not params.steps or groups >= params.updates_per_batch:
        return None
    return f"a step has {groups} groups for {params.updates_per_batch} updates, of which the others train on nothing"


def _idle_process(params: RunParams) -> str | None:
    """The forward passes of an update are dealt to the processes, and pairs to none."""
    passes = params.answers_per_step // params.updates_per_batch // params.rows_per_pass
    if not params.steps or passes >= processes.size() or OBJECTIVES.of(params.objective).kind == "dpo":
        return None
    return (
        f"an update has {passes} forward pass{'es' * (passes > 1)} of micro_batch = {params.micro_batch} answers for "
        f"{processes.size()} processes, of which the others wait"
    )


def _no_ratio(params: RunParams) -> str | None:
    one_ratio = OBJECTIVES.of(params.objective).trl.get("importance_sampling_level") == "sequence"
    if not one_ratio or params.updates_per_batch > 1:
        return None
    return f"with one update per batch the ratios of objective {params.objective!r} are 1: it trains as 'grpo' does"


def trl_reward(name: str, rows: list[dict], params: RunParams | None = None, judge: Grader | None = None):
    """The reward as TRL calls it: a batch of chats in, one float or None each out. Counts the Nones."""
    function = processes.only_first(batch_reward, name, rows, params, judge)
    by_id = {row["id"]: row for row in rows}

    def scored(completions, id, log_metric, **columns):
        values = function([chat[0]["content"] for chat in completions], [by_id[i] for i in id])
        log_metric(f"unscored/{name}", sum(value is None for value in values))
        return values

    scored.__name__ = name
    return scored


def train(trainer: StudyTrainer, params: RunParams, look: Callable[[int], dict[str, float]] | None = None) -> int:
    """Train to the end, from the newest complete checkpoint if there is one; returns the step it resumed from.

    look: looks at the policy every `eval_every` steps (`evaluation/curve.py`); training is the same with and without.
    A finished run is not trained again: its adapter is loaded. Before any step the policy is trained on traces of roles
    where `traces` asks for them; with `steps: 0` it is left as it then is.
    """
    run_dir = params.run_dir
    if processes.of_first(is_complete, run_dir):
        trainer.model.load_adapter(run_dir / "adapter", "default", is_trainable=True)
        return params.steps
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = processes.of_first(newest_checkpoint, run_dir / "checkpoints")
    step = optimiser_step(checkpoint) // params.updates_per_batch if checkpoint else 0
    if checkpoint:
        restore(trainer, checkpoint)
    log = RunLog(trainer, run_dir / "metrics.jsonl", step, look)
    log.look_at_start()
    if not checkpoint:
        train_on_traces(trainer, params)
    training = trainer
    if trainer.objective.kind == "dpo":
        pairs, reward_of_pairs, tokens = sample_pairs(trainer)
        log.always |= {"reward": reward_of_pairs, "generated_tokens": 0 if log.kept else tokens}
        training = dpo_trainer(trainer, pairs, PairTrainer)
        training.count_tokens_from(log.kept.get("num_tokens") or 0)
    training.add_callback(log)
    if params.steps:
        training.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    processes.only_first(trainer.model.save_pretrained, run_dir / "adapter")
    return step
