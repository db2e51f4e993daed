"""Parameters of one run: flat scalars, checked before anything else happens.

A run is a profile (model and budget for a machine), a condition (one arm of an axis) and a seed:
`papermill ... -f params/profiles/tiny_cpu.yaml -f params/inputs/broad.yaml -p seed 3`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from studylib.names import FRAMEWORKS, REWARDS, SOURCES, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.paths import PARAMS, RUNS, at_home
from studylib.text.files import read_mapping, read_text
from studylib.typed import LARGEST_COUNT, LARGEST_SEED, LEAST, MOST, typed, weight_of

OBJECTIVES = (
    "grpo", "dr_grpo", "dapo", "rloo", "reinforce_pp", "gspo", "cispo", "ppo", "flowrl", "flowrl_released", "gflowrl",
    "dpo", "rft", "base",
)  # fmt: skip
PLAIN_TRL = ("grpo", "dr_grpo", "gspo", "cispo")  # objectives that TRL alone can train as the study means them
NEED_REFERENCE = ("reinforce_pp", "ppo", "flowrl", "flowrl_released", "gflowrl", "dpo")
ENGINES = ("fast", "trl")
ROLLOUT_WEIGHTS = ("auto", "dense", "nf4")
RATING_REWARDS = (
    "rating_majority", "rating_expected", "rating_soft_label", "rating_total_variation", "rating_brier",
    "rating_ordinal", "rating_any_of",
)  # fmt: skip
SURFACE_REWARDS = (
    "diversity", "diversity_lexical", "diversity_token_entropy", "diversity_sentence_length",
    "diversity_sentence_pattern", "diversity_adjacent_sentence", "diversity_yule", "diversity_distinct_ngram",
    "diversity_function_word",
)  # fmt: skip
PERSPECTIVE_REWARDS = ("coverage", "uniqueness", "perspective_format")
DIVERSITY_REWARDS = (*SURFACE_REWARDS, *PERSPECTIVE_REWARDS, "dispersion")
LENGTH_MATCHED = "length_matched_"  # before the name of a diversity reward: its control, which knows the length alone
GRADERS = ("checks", "judge")
RUBRIC_SCORES = ("p_minus_n", "morebench")
GATES = ("verdict", "form")
SHAPINGS = ("none", "par", "lsc", "tanh", "clip", "min_max", "mean_std")
COMBINATIONS = ("sum", "lsc", "more", "normalise_then_sum")
FLOWS = ("flowrl", "flowrl_released", "gflowrl")
SAMPLING = tuple(name for name in OBJECTIVES if name not in ("dpo", "base"))  # they sample at every step
READ_BY = {  # parameter -> the objectives that read it
    "dpo_nll": ("dpo",), "flow_beta": FLOWS, "head_learning_rate": ("ppo", "flowrl", "flowrl_released"),
    "dynamic_sampling": SAMPLING, "overlong_cache": SAMPLING,
}  # fmt: skip
GROUP_NORMALISED = ("grpo", "dapo", "gspo", "cispo", "flowrl", "flowrl_released", "gflowrl")  # use TRL's advantages
PATHS = ("data_dir", "judge", "run_root", "model", "embedder")  # parameters in which ~ is a home folder


def _param(default, help: str):
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class RunParams:
    """Defaults are the embedded study on a laptop CPU (`params/profiles/tiny_cpu.yaml`)."""

    # what is run
    profile: str = _param("tiny_cpu", "machine profile; names params/profiles/<profile>.yaml")
    axis: str = _param("inputs", "face of diversity; a folder under params/")
    condition: str = _param("broad", "arm of the axis; names params/<axis>/<condition>.yaml")
    seed: int = _param(0, "training seed, >= 0")
    # scenarios
    source: str = _param("local_norms", "an embedded world or a real data set")
    data_dir: str = _param("", "folder with the files of a real source; empty: from its hub id")
    frameworks: str = _param("kantian_deontology virtue_ethics", "frameworks of an embedded world, by spaces")
    n_domains: int = _param(12, "domains to train on, 1..12 (embedded worlds)")
    n_styles: int = _param(4, "writing styles to train on, 1..4 (embedded worlds)")
    facts_told: int = _param(1, "facts a text tells beside the circumstance, 1..5 (embedded worlds)")
    eval_scenarios: int = _param(80, "scenarios per evaluation split, even")
    # model
    model: str = _param("tiny", "'tiny' or a hub id")
    revision: str = _param("", "commit of the hub model; needed for a hub model")
    device: str = _param("cpu", "cpu or cuda")
    min_gpu_gb: float = _param(0.0, "GPU memory that the profile needs, GiB")
    lora_r: int = _param(16, "rank of the LoRA adapter, on all linear layers")
    lora_alpha: int = _param(32, "LoRA scaling numerator")
    warm_start_steps: int = _param(150, "supervised steps of 64 demonstrations that make the tiny model")
    # training
    objective: str = _param("grpo", "training objective")
    rewards: str = _param("verdict=1.0 format=0.0", "reward=weight, by spaces; weight 0 is measured, not trained on")
    rubric_grader: str = _param("checks", "who gives verdicts on a rubric: the worlds' own checks, or a trained judge")
    rubric_score: str = _param("p_minus_n", "what verdicts are worth: p_minus_n in [-1, 1], or morebench's score / 100")
    judge: str = _param("", "folder of a trained judge; needed by rubric_grader 'judge'")
    diversity_window: int = _param(16, "words per window of the surface statistics; shorter texts are scaled down")
    diversity_gate: str = _param(
        "verdict", "whose diversity is paid: that of right answers (verdict) or well-formed ones (form)"
    )
    embedder: str = _param("words", "dispersion compares word counts, or vectors of a sentence-transformers hub id")
    embedder_revision: str = _param("", "commit of that model")
    rater_share: float = _param(0.25, "share of raters that makes an option acceptable to rating_any_of")
    shaping: str = _param("none", "shaping of the weighted sum of rewards, against the group's other answers")
    combination: str = _param("sum", "how several rewards become one: sum, lsc (all of them), more, normalise_then_sum")
    steps: int = _param(120, "batches of answers, each for updates_per_batch optimiser steps; 0 only evaluates")
    answers_per_step: int = _param(64, "sampled answers per step; a multiple of generations")
    generations: int = _param(4, "answers to each prompt (the group size G), >= 2")
    micro_batch: int = _param(64, "most answers per forward pass in training; divides those of an update")
    max_new_tokens: int = _param(28, "longest answer, tokens")
    temperature: float = _param(1.0, "sampling temperature in training")
    engine: str = _param("fast", "fast: prompts encoded once for all their answers; trl: plain TRL, for comparison")
    rollout_weights: str = _param("auto", "weights for sampling: dense copy, nf4, or auto (dense where it fits)")
    rollout_batch: int = _param(256, "answers decoded together")
    rollout_compile: bool = _param(False, "on CUDA: decode with a cache of fixed size and CUDA graphs")
    learning_rate: float = _param(5e-4, "peak learning rate, linear decay to 0")
    updates_per_batch: int = _param(1, "optimiser steps on the answers of a step; divides answers_per_step")
    beta: float = _param(0.0, "weight of the KL to the reference; 0: no reference")
    dpo_nll: float = _param(0.0, "weight of the chosen answers' negative log-likelihood beside DPO's loss")
    flow_beta: float = _param(15.0, "inverse temperature of the reward in the flow objectives")
    head_learning_rate: float = _param(5e-3, "peak learning rate of a value head or log Z head")
    dynamic_sampling: int = _param(0, "rounds in which groups without reward differences are sampled anew (dapo)")
    overlong_cache: float = _param(0.0, "ramp of the soft overlong punishment, share of max_new_tokens; 0: none")
    max_grad_norm: float = _param(0.02, "gradient clipping")
    gradient_checkpointing: bool = _param(False, "trade time for memory")
    # evaluation and files
    eval_samples: int = _param(4, "answers per scenario at temperature 1, beside the greedy one")
    save_every: int = _param(40, "steps between checkpoints")
    run_root: str = _param("runs", "folder of the run folders; relative to the repository")

    def __post_init__(self):
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, typed(f.name, getattr(self, f.name), f.type))
        for name in PATHS:
            if getattr(self, name).startswith("~"):
                object.__setattr__(self, name, str(at_home(getattr(self, name))))
        for name, (ok, allowed) in self._rules().items():
            if not ok:
                raise ValueError(f"parameter {name} = {getattr(self, name)!r} is not allowed: {allowed}")

    def _rules(self) -> dict[str, tuple[bool, str]]:
        """name -> (holds, what is allowed)."""
        at_least = {
            "seed": 0, "steps": 0, "dynamic_sampling": 0, "generations": 2, "eval_samples": 1,
            "save_every": 1, "lora_r": 1, "lora_alpha": 1, "max_new_tokens": 1, "micro_batch": 1, "rollout_batch": 1,
            "answers_per_step": 1, "warm_start_steps": 1, "updates_per_batch": 1,
        }  # fmt: skip
        rules = {}
        for name, low in at_least.items():
            most = LARGEST_SEED if name == "seed" else LARGEST_COUNT
            rules[name] = (low <= getattr(self, name) <= most, f"an integer >= {low}, at most {most}")
        within = f"whose square float32 can hold, so {LEAST:g} to {MOST:g}"
        for name in ("temperature", "learning_rate", "max_grad_norm", "flow_beta", "head_learning_rate"):
            rules[name] = (LEAST <= getattr(self, name) <= MOST, f"a number > 0 {within}")
        for name in ("beta", "min_gpu_gb", "dpo_nll"):
            value = getattr(self, name)
            rules[name] = (value == 0 or LEAST <= value <= MOST, f"a number >= 0 {within} or 0")
        rules["overlong_cache"] = (
            0 <= self.overlong_cache <= 1 and (self.overlong_ramp >= 1 or not self.overlong_cache),
            "a share, 0..1, of one token or more where it is not 0",
        )
        choices = {
            "source": SOURCES, "objective": OBJECTIVES, "device": ("cpu", "cuda"), "engine": ENGINES,
            "rollout_weights": ROLLOUT_WEIGHTS, "rubric_grader": GRADERS, "rubric_score": RUBRIC_SCORES,
            "diversity_gate": GATES, "shaping": SHAPINGS, "combination": COMBINATIONS,
        }  # fmt: skip
        for name, allowed in choices.items():
            rules[name] = (getattr(self, name) in allowed, f"one of {', '.join(allowed)}")
        rules["run_root"] = (bool(self.run_root.strip()), "a folder")
        rules["n_domains"] = (1 <= self.n_domains <= len(TRAIN_DOMAINS), f"1..{len(TRAIN_DOMAINS)}")
        rules["n_styles"] = (1 <= self.n_styles <= len(TRAIN_STYLES), f"1..{len(TRAIN_STYLES)}")
        rules["facts_told"] = (1 <= self.facts_told <= len(FRAMEWORKS), f"1..{len(FRAMEWORKS)}")
        rules["eval_scenarios"] = (self.eval_scenarios >= 2 and self.eval_scenarios % 2 == 0, "an even number >= 2")
        unknown = [f for f in self.frameworks.split() if f not in FRAMEWORKS]
        rules["frameworks"] = (bool(self.frameworks.split()) and not unknown, f"one or more of {', '.join(FRAMEWORKS)}")
        if self.generations >= 2 and (self.answers_per_step % self.generations or self.micro_batch < 1):
            rules["answers_per_step"] = (False, f"a multiple of generations = {self.generations}")
        elif min(self.micro_batch, self.updates_per_batch) >= 1:
            per_update = self.answers_per_step / self.updates_per_batch
            divides = per_update.is_integer() and per_update % self.rows_per_pass == 0
            rules["micro_batch"] = (divides, f"a divisor of the {per_update:g} answers of an update, or more")
        if self.objective in NEED_REFERENCE and self.steps:
            rules["beta"] = (
                LEAST <= self.beta <= MOST,
                f"> 0, because objective {self.objective!r} needs the reference",
            )
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        for name, readers in READ_BY.items():
            unread = self.steps and self.objective not in readers and getattr(self, name) != defaults[name]
            if unread and rules[name][0]:
                rules[name] = (False, f"{defaults[name]}, because objective {self.objective!r} does not read it")
        for name in ("n_domains", "n_styles"):
            if not self.is_world and getattr(self, name) != defaults[name] and rules[name][0]:
                rules[name] = (False, f"{defaults[name]}, because source {self.source!r} has none to choose from")
        if self.engine == "trl" and self.objective not in PLAIN_TRL:
            rules["engine"] = (False, f"'trl' knows only {', '.join(PLAIN_TRL)}")
        if self.objective == "base":
            rules["steps"] = (self.steps == 0, "0 for objective 'base', which trains nothing")
        if self.is_world and self.steps and (self.answers_per_step // max(self.generations, 1)) * self.steps % 2:
            rules["steps"] = (False, "prompts per step x steps is an even number in an embedded world")
        rules["revision"] = (
            self.model == "tiny" or bool(self.revision),
            f"a commit that pins {self.model!r}",
        )
        try:
            _ = self.reward_weights
        except ValueError as error:
            rules["rewards"] = (False, str(error))
            return rules
        return rules | self._reward_rules()

    def _reward_rules(self) -> dict[str, tuple[bool, str]]:
        """What rewards, their combination and the objective allow one another: name -> (holds, what is allowed)."""
        rules = {
            "diversity_window": (2 <= self.diversity_window <= 256, "2..256"),
            "rater_share": (0 < self.rater_share <= 1, "a share > 0, at most 1"),
            "embedder_revision": (
                self.embedder == "words" or bool(self.embedder_revision), f"a commit that pins {self.embedder!r}",
            ),
        }  # fmt: skip
        if self.rubric_grader == "judge" and "rubric" in self.reward_weights:
            rules["judge"] = (bool(self.judge), "the folder of a trained judge, because rubric_grader is 'judge'")
        if self.combination != "sum" and self.shaping in SHAPINGS:
            rules["shaping"] = (self.shaping == "none", "none, because combination 'sum' alone makes a sum to shape")
        if self.combination == "normalise_then_sum":
            holds = self.objective in GROUP_NORMALISED and not self.overlong_ramp
            allowed = f"'normalise_then_sum' takes overlong_cache 0 and an objective of {', '.join(GROUP_NORMALISED)}"
            rules["combination"] = (holds, allowed)
        if self.combination == "more":
            holds = self.objective == "grpo" and self.engine == "fast" and self.updates_per_batch == 1
            holds = holds and not self.overlong_ramp and set(self.reward_weights.values()) <= {0.0, 1.0}
            rules["combination"] = (
                holds,
                "'more' takes objective grpo, engine fast, updates_per_batch 1, overlong_cache 0 and weights 0 or 1, "
                "because it finds the weights itself",
            )
        return rules

    # --- what follows from the parameters ---

    @property
    def is_world(self) -> bool:
        return self.source in SOURCES and SOURCES[self.source].world

    @property
    def has_options(self) -> bool:
        """Whether scenarios are answered with one of their options; MoReBench's are answered openly."""
        return SOURCES[self.source].options

    @property
    def train_prompts(self) -> int:
        """Prompts of the whole run; every prompt is answered `generations` times, in one step."""
        return self.steps * self.answers_per_step // self.generations

    @property
    def overlong_ramp(self) -> int:
        """Tokens of the ramp of the soft overlong punishment."""
        return round(self.overlong_cache * self.max_new_tokens)

    @property
    def rows_per_pass(self) -> int:
        """Answers in a forward pass of training: `micro_batch`, or those of one update where they are fewer."""
        return min(self.micro_batch, self.answers_per_step // self.updates_per_batch)

    @property
    def reward_weights(self) -> dict[str, float]:
        """Reward name -> weight."""
        weights = {}
        for part in self.rewards.split():
            name, _, weight = part.partition("=")
            if name not in REWARDS or name in weights:
                raise ValueError(f"name=weight pairs, each name once, of {', '.join(REWARDS)}")
            weights[name] = weight_of(name, weight)
        if not any(weights.values()):
            raise ValueError("at least one reward with a weight other than 0")
        return weights

    @property
    def run_dir(self) -> Path:
        """One folder per profile, axis, source, condition and seed."""
        return (
            (RUNS.parent / self.run_root) / self.axis / self.profile / self.source / self.condition / f"seed{self.seed}"
        )

    # --- reading ---

    @classmethod
    def of(cls, values: Mapping) -> "RunParams":
        """Parameters from a mapping; unknown names are refused with the nearest known ones."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}; known parameters: {', '.join(sorted(known))}")
        return cls(**values)

    @classmethod
    def resolve(cls, given: Mapping) -> "RunParams":
        """Defaults < profile file < condition file < `given` (what papermill or a reader set)."""
        defaults = {f.name: f.default for f in dataclasses.fields(cls)}
        names = {name: given.get(name, defaults[name]) for name in ("profile", "axis", "condition")}
        values = {}
        for path in (
            PARAMS / "profiles" / f"{names['profile']}.yaml", PARAMS / names["axis"] / f"{names['condition']}.yaml",
        ):  # fmt: skip
            values |= read_yaml(path)
            _refuse_misread(path, given)
        return cls.of(values | dict(given))


def read_yaml(path: Path) -> dict:
    """A flat mapping of scalars, as YAML 1.2 reads them; refuses by file and line what is none.

    papermill would replace a nested value as a whole, so it is refused here.
    """
    if not path.is_file():
        raise ValueError(f"no parameter file {path}")
    values = read_mapping(path)
    nested = [name for name, value in values.items() if not isinstance(value, str | int | float | None)]
    if nested:
        raise ValueError(f"{path}: parameter {nested[0]!r} is nested; parameters are flat scalars")
    unnamed = [name for name in values if not isinstance(name, str)]
    if unnamed:
        raise ValueError(f"{path}: {unnamed[0]!r} is no name of a parameter")
    return values


def _refuse_misread(path: Path, given: Mapping) -> None:
    """Refuse what papermill's -f made of a file, where YAML 1.1 reads another value than is written there."""
    try:
        old = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError):  # then it is not from there
        return
    for name, value in read_yaml(path).items():
        if not isinstance(old[name], str) and old[name] != value and given.get(name) == old[name]:
            raise ValueError(
                f"{path}: {name} is {value!r} in YAML 1.2, and papermill's -f reads {old[name]!r}; write it another way"
            )
