"""How large and how fast are models of the profiles' shapes on a GPU, and do its fast paths give the plain answers?

`gpu_check.py` runs these checks.
"""

import time

from studylib.axes import read_profile
from studylib.instruments.bench_step import measure, trainer_of
from studylib.instruments.gpu_setting import Finding, Findings, Setting, disturb, peak_memory, prepared
from studylib.params import RunParams
from studylib.policy.memory import SHAPES, memory_needed
from studylib.policy.models import check_gradients
from studylib.policy.rollout import rollout, sampler
from studylib.policy.sampling import Sampling
from studylib.scenarios.prompts import chat
from studylib.scenarios.selection import select
from studylib.text.tokens import prompt_tokens
from studylib.training.trainer import StudyTrainer

GRADIENTS = 0.01  # relative change through sampling, at which `check_gradients` refuses
MISMATCH, LARGEST_RATIO = 0.02, 1.5  # sampler against trainer: nats per token in the mean, largest ratio of any token
ALIKE = 0.75  # of the answers: where rounding decides a draw, an answer is another one from there on
LEAST_OF_NEED = 0.5  # a computed need of more than twice the memory that was used says nothing
OF_A_CPU = 1.5  # the stand-in's head and attention keep float32 copies that CUDA's kernels do without
DEPTH = 8  # layers of the model whose step is timed
TIMED = {"p": 512, "c": 128, "g": 8, "prompts": 4, "micro_batch": 8, "steps": 2}
TIMED_ON_CPU = {"p": 256, "c": 8, "g": 8, "prompts": 2, "micro_batch": 8, "steps": 2}


def profile(setting: Setting, name: str) -> Findings:
    """Gradients, sampler and memory of a random model of a profile's shape, at the profile's own sizes."""
    params, shape = setting.of_profile(name)
    with peak_memory(setting.device) as peak:
        trainer = trainer_of(params, setting.prompt, params.answers_per_step // params.generations)
        disturb(trainer)
        change = check_gradients(trainer.model, trainer.processing_class)
        yield Finding(
            "gradients", f"{change:.2%} other after sampling", f"less than {GRADIENTS:.0%}", change < GRADIENTS
        )
        trainer.train()
        yield _mismatch(trainer.state.log_history[0])
        _sample_as_much_as_it_may(trainer, setting.prompt)
    need = memory_needed(params, shape, trainer.dense is not None, setting.prompt)
    yield _memory(setting, peak[0], need, f"{shape.layers} of {setting.shape(_model(name)).layers} layers", name)


def _model(profile: str) -> str:
    return read_profile(profile)["model"]


def _mismatch(log: dict) -> Finding:
    mean, largest = log["sampler_mismatch"], log["sampler_largest_ratio"]
    found = f"{mean:.2g} nats a token, largest ratio {largest:.3f}"
    expected = f"at most {MISMATCH} and {LARGEST_RATIO}"
    return Finding("sampler against trainer", found, expected, mean <= MISMATCH and largest <= LARGEST_RATIO)


def _sample_as_much_as_it_may(trainer: StudyTrainer, prompt: int) -> None:
    """Answers of full length, `rollout_batch` of them in flight."""
    p = trainer.params
    groups = range(-(-p.rollout_batch // p.generations))
    prompts = [[5 + group] * prompt for group in groups for _ in range(p.generations)][: p.rollout_batch]
    how = Sampling(p.max_new_tokens, tuple(trainer.eos_token_ids))
    rollout(sampler(p, trainer.model), prompts, range(len(prompts)), how, trainer.processing_class.pad_token_id,
            p.rollout_batch)  # fmt: skip


def _memory(setting: Setting, peak: float, need: dict[str, float], layers: str, profile: str) -> Finding:
    computed = need["total"] - need["reserve"]
    most = computed * OF_A_CPU if setting.stand_in else need["total"]
    whole = RunParams.resolve({"profile": profile})
    of_all = memory_needed(whole, SHAPES[whole.model], dense=True)["total"]
    found = f"{_size(peak)} with {layers}; computed {_size(computed)}; the whole model, computed {_size(of_all)}"
    expected = f"{_size(LEAST_OF_NEED * computed)} to {_size(most)}"
    return Finding("memory", found, expected, LEAST_OF_NEED * computed <= peak <= most)


def _size(gib: float) -> str:
    return f"{gib:.2f} GiB" if gib >= 0.1 else f"{gib * 1024:.2f} MiB"


# --- speed -----------------------------------------------------------------------------------------------------------


def against_trl(setting: Setting) -> Findings:
    """A step of the fast path and of plain TRL, at one shape."""
    of_model = setting.shape("Qwen/Qwen2.5-0.5B-Instruct")
    shape = of_model._replace(layers=min(DEPTH, of_model.layers))
    size = TIMED_ON_CPU if setting.stand_in else TIMED
    model = str(setting.counting(shape))
    seconds, peak = {}, {}
    for engine in ("trl", "fast"):
        seconds[engine], peak[engine] = _step_of(setting, model, engine, size)
    faster, smaller = seconds["trl"] / seconds["fast"], peak["trl"] / peak["fast"]
    found = (
        f"{faster:.2f} x the seconds ({seconds['trl']:.2f} / {seconds['fast']:.2f}), {smaller:.2f} x the memory, "
        f"P {size['p']}, C {size['c']}, G {size['g']}, {shape.layers} of {of_model.layers} layers"
    )
    yield Finding("plain TRL / fast path", found, "more than 1 x both", faster > 1 and smaller > 1)


def _step_of(setting: Setting, model: str, engine: str, size: dict) -> tuple[float, float]:
    """Seconds and GiB of a step."""
    if setting.stand_in:  # where counting memory costs time: once for each
        with peak_memory(setting.device) as held:
            measure(model, engine, **size | {"steps": 1}, device=setting.device)
        steps = measure(model, engine, **size, device=setting.device)["steps"]
    else:
        with peak_memory(setting.device) as held:
            steps = measure(model, engine, **size, device=setting.device)["steps"]
    return min(step["seconds"] for step in steps), held[0]


def fixed_cache(setting: Setting) -> Findings:
    """`rollout_compile`: one token as a replay of a CUDA graph, against the growing cache; without an end token."""
    params = setting.of_step("fixed")
    trainer = prepared(params)
    disturb(trainer)
    rows = [row for row in select(params)["train"] for _ in range(params.generations)]
    prompts = prompt_tokens(trainer.processing_class, [chat(row, instruct=True) for row in rows])
    _, first, _ = _sampled(trainer, prompts, compiled=True)
    answers, seconds, logps = zip(*(_sampled(trainer, prompts, compiled) for compiled in (False, True)), strict=True)
    alike = sum(map(list.__eq__, *answers)) / len(prompts)
    apart = [abs(a - b) for pair in zip(*answers, *logps, strict=True) for a, b in _while_alike(*pair)]
    mean = sum(apart) / max(len(apart), 1)
    found = (
        f"{alike:.0%} of {len(prompts)} answers alike, {mean:.2g} nats a token apart; {seconds[0] / seconds[1]:.2f} x "
        f"the speed ({seconds[0]:.2f} / {seconds[1]:.2f} s), the first time {first:.1f} s"
    )
    expected = f"at least {ALIKE:.0%} alike, at most {MISMATCH} nats"
    yield Finding("fixed cache, CUDA graphs", found, expected, alike >= ALIKE and bool(apart) and mean <= MISMATCH)


def _sampled(trainer: StudyTrainer, prompts: list[list[int]], compiled: bool) -> tuple[list[list[int]], float, list]:
    """(answers, seconds, log-probabilities of their tokens)."""
    p, logps = trainer.params, []
    started = time.perf_counter()
    answers = rollout(
        sampler(p, trainer.model), prompts, range(len(prompts)), Sampling(p.max_new_tokens, ()),
        trainer.processing_class.pad_token_id, p.rollout_batch, compiled, logps,
    )  # fmt: skip
    return answers, time.perf_counter() - started, logps


def _while_alike(one: list[int], other: list[int], *logps: list[float]):
    """The log-probabilities of both, as far as two answers are the same."""
    for a, b, *of_both in zip(one, other, *logps, strict=False):
        if a != b:
            return
        yield of_both
