"""Parameters of one run: flat scalars, checked before anything else happens.

A run is a profile (model and budget for a machine), a condition (one arm of an axis) and a seed:
`papermill ... -p profile tiny_cpu -p axis inputs -p condition broad -p seed 3`; `axes.py` says where the rest stands.
What only some objectives or rewards read is an option: they declare it, and it is given as any other parameter.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from studylib import names
from studylib.axes import CHOOSE, read_axis, read_profile, refuse_other_source
from studylib.names import FRAMEWORKS, OBJECTIVES, REWARDS, SHAPINGS, SOURCES, TRAIN_DOMAINS, TRAIN_STYLES, Option
from studylib.paths import PARAMS, RUNS, at_home
from studylib.typed import LARGEST_SEED, NOT_NEGATIVE, POSITIVE, at_least, between, one_of, some_of, typed
from studylib.weights import present_rewards, reward_weights

COMBINATIONS = ("sum", "lsc", "more", "normalise_then_sum")
CHOICES = {"source": SOURCES, "objective": OBJECTIVES, "shaping": SHAPINGS}
GROUPS = {  # the first parameter of a group -> its name
    "profile": "what is run", "source": "scenarios", "model": "model", "objective": "training",
    "eval_samples": "evaluation and files",
}  # fmt: skip
Rule = tuple[str, bool, str]  # name of a parameter, whether its value is allowed, what is

COUNT, WHOLE = at_least(1), at_least(0)
EVEN = (lambda value: value >= 2 and value % 2 == 0, "an even number >= 2")
SHARE = (lambda value: 0 <= value <= 1, "a share, 0..1, of one token or more where it is not 0")
FOLDER = (lambda value: bool(value.strip()), "a folder")
KNOWN = some_of(*FRAMEWORKS)
FACTS = between(1, len(FRAMEWORKS))
COMBINATION, ENGINE, WEIGHTS = one_of(*COMBINATIONS), one_of("fast", "trl"), one_of("auto", "dense", "nf4")


def _param(default, help: str, rule=(), path: bool = False):
    return field(default=default, metadata={"help": help, "rule": rule, "path": path})


@dataclass(frozen=True, init=False)
class RunParams:
    """Defaults are the embedded study on a laptop CPU (`params/profiles/tiny_cpu.yaml`), without its looks."""

    # what is run
    profile: str = _param("tiny_cpu", "machine profile, a file in params/profiles")
    axis: str = _param("inputs", "dimension of diversity, a file in params/")
    condition: str = _param("broad", "arm of the axis, a row of its file")
    world: str = _param("", "world of the axis, in settings_by_world of its file; empty: what source says")
    seed: int = _param(0, "training seed, >= 0", at_least(0, LARGEST_SEED))
    # scenarios
    source: str = _param("local_norms", "an embedded world or a real data set")
    data_dir: str = _param("", "folder with the files of a real source; empty: from its hub id", path=True)
    frameworks: str = _param("kantian_deontology virtue_ethics", "frameworks of an embedded world, by spaces", KNOWN)
    n_domains: int = _param(12, "domains to train on, 1..12 (embedded worlds)", between(1, len(TRAIN_DOMAINS)))
    n_styles: int = _param(4, "writing styles to train on, 1..4 (embedded worlds)", between(1, len(TRAIN_STYLES)))
    facts_told: int = _param(1, "facts a text tells beside the circumstance, 1..5 (embedded worlds)", FACTS)
    eval_scenarios: int = _param(80, "scenarios per evaluation split, even", EVEN)
    # model
    model: str = _param("tiny", "'tiny', 'smollm2', a hub id or a folder", path=True)
    revision: str = _param("", "commit of the hub model; needed for a hub model or a folder")
    device: str = _param("cpu", "cpu or cuda", one_of("cpu", "cuda"))
    min_gpu_gb: float = _param(0.0, "GPU memory that the profile needs, GiB", NOT_NEGATIVE)
    lora_r: int = _param(16, "rank of the LoRA adapter, on all linear layers", COUNT)
    lora_alpha: int = _param(32, "LoRA scaling numerator", COUNT)
    warm_start_steps: int = _param(150, "supervised steps before the run, which make the tiny model; 0: none", WHOLE)
    # training
    objective: str = _param("grpo", "training objective")
    rewards: str = _param("correct=1.0 format=0.0", "reward=weight, by spaces; weight 0 is measured, not trained on")
    shaping: str = _param("none", "shaping of the weighted sum of rewards, against the group's other answers")
    combination: str = _param("sum", f"how several rewards become one: {', '.join(COMBINATIONS)}", COMBINATION)
    steps: int = _param(
        120, "batches of answers, each for updates_per_batch optimiser steps; 0: no rewards are trained on", WHOLE
    )
    answers_per_step: int = _param(64, "sampled answers per step; a multiple of generations", COUNT)
    generations: int = _param(4, "answers to each prompt (the group size G), >= 2", at_least(2))
    micro_batch: int = _param(64, "most answers per forward pass in training; divides those of an update", COUNT)
    max_new_tokens: int = _param(28, "longest answer, tokens", COUNT)
    temperature: float = _param(1.0, "sampling temperature in training", POSITIVE)
    engine: str = _param("fast", "fast: prompts encoded once for all their answers; trl: plain TRL", ENGINE)
    rollout_weights: str = _param("auto", "weights for sampling: dense, nf4, or auto: dense where it fits", WEIGHTS)
    rollout_batch: int = _param(256, "answers decoded together", COUNT)
    rollout_compile: bool = _param(False, "on CUDA: decode with a cache of fixed size and CUDA graphs")
    learning_rate: float = _param(5e-4, "peak learning rate, linear decay to 0", POSITIVE)
    updates_per_batch: int = _param(1, "optimiser steps on the answers of a step; divides answers_per_step", COUNT)
    beta: float = _param(0.0, "weight of the KL to the reference; 0: no reference", NOT_NEGATIVE)
    dynamic_sampling: int = _param(0, "rounds of new samples for groups whose rewards are equal (dapo)", WHOLE)
    overlong_cache: float = _param(0.0, "ramp of the soft overlong punishment, share of max_new_tokens; 0: none", SHARE)
    max_grad_norm: float = _param(0.02, "gradient clipping", POSITIVE)
    gradient_checkpointing: bool = _param(False, "trade time for memory")
    # evaluation and files
    eval_samples: int = _param(4, "answers per scenario at temperature 1, beside the greedy one", COUNT)
    save_every: int = _param(40, "steps between checkpoints", COUNT)
    eval_every: int = _param(0, "steps between looks at a few held-out answers (of options); 0: none", WHOLE)
    run_root: str = _param("runs", "folder of the run folders; relative to the repository", FOLDER, path=True)
    # name -> value of every option; as a field, so that dataclasses.replace keeps them
    options: Mapping = field(
        default=property(lambda self: {name: value for name, value in vars(self).items() if name not in COMMON}),
        hash=False,
    )

    def __init__(self, options: Mapping = MappingProxyType({}), **given):
        known, given = parameters(), {**options, **given}
        refuse_unknown(given)
        for name, option in known.items():
            value = typed(name, given.get(name, option.default), type(option.default))
            home = option.path and value.startswith("~")
            object.__setattr__(self, name, str(at_home(value)) if home else option.former.get(value, value))
        object.__setattr__(self, "rewards", present_rewards(self.rewards))
        for name, holds, allowed in self._rules():
            if not holds:
                raise ValueError(f"parameter {name} = {getattr(self, name)!r} is not allowed: {allowed}")

    # --- rules: each may count on those before it ---

    def _rules(self) -> Iterator[Rule]:
        for name, option in parameters().items():
            yield name, option.holds(getattr(self, name)), option.allowed
        for name, registry in CHOICES.items():
            value = getattr(self, name)
            yield name, value in registry, f"one of {', '.join(registry)}{names.nearest(value, registry)}"
        yield from self._budget_rules()
        yield from self._objective_rules()
        yield from self._source_rules()
        try:
            _ = self.reward_weights
        except ValueError as error:
            yield "rewards", False, str(error)
        yield from self._reward_rules()

    def _budget_rules(self) -> Iterator[Rule]:
        yield "overlong_cache", self.overlong_ramp >= 1 or not self.overlong_cache, SHARE[1]
        multiple = self.answers_per_step % self.generations == 0
        yield "answers_per_step", multiple, f"a multiple of generations = {self.generations}"
        per_update = self.answers_per_step / self.updates_per_batch
        divides = per_update.is_integer() and per_update % self.rows_per_pass == 0
        yield "micro_batch", divides, f"a divisor of the {per_update:g} answers of an update, or more"
        yield "revision", self.model in names.MODELS or bool(self.revision), f"a commit that pins {self.model!r}"
        yield "warm_start_steps", self.instructed or self.warm_start_steps > 0, f"1 or more: they make {self.model!r}"

    def _objective_rules(self) -> Iterator[Rule]:
        name, objective = self.objective, OBJECTIVES[self.objective]
        if objective.kind == "none":
            yield "steps", self.steps == 0, f"0 for objective {name!r}, which trains nothing"
        if objective.reference and self.steps:
            yield "beta", self.beta > 0, f"> 0, because objective {name!r} needs the reference"
        for unread in self.unread():
            default = parameters()[unread].default
            holds = not self.steps or getattr(self, unread) == default
            yield unread, holds, f"{default}, because objective {name!r} does not read it"
        plain = [other.name for other in OBJECTIVES.values() if other.plain]
        yield "engine", self.engine != "trl" or objective.plain, f"'trl' knows only {', '.join(plain)}"

    def unread(self) -> list[str]:
        """Parameters that other objectives read, and neither this run's nor a reward does."""
        objective = OBJECTIVES[self.objective]
        of_others = {option.name for other in OBJECTIVES.values() for option in other.options}
        own = {option.name for record in (objective, *REWARDS.values()) for option in record.options}
        return [*sorted(of_others - own), *(() if objective.samples else ("dynamic_sampling", "overlong_cache"))]

    def _source_rules(self) -> Iterator[Rule]:
        own = {option.name for option in SOURCES[self.source].parameters}
        of_others = {option.name for source in SOURCES.values() for option in source.parameters} - own
        for name in (*(() if self.is_world else ("n_domains", "n_styles")), *sorted(of_others)):
            default = parameters()[name].default
            holds = getattr(self, name) == default
            yield name, holds, f"{default}, because source {self.source!r} has none to choose from"
        odd = self.is_world and self.answers_per_step // self.generations * self.steps % 2
        yield "steps", not odd, "prompts per step x steps is an even number in an embedded world"

    def _reward_rules(self) -> Iterator[Rule]:
        for option in names.options().values():
            holds = option.fits(self) and (not option.needed(self) or bool(getattr(self, option.name)))
            yield option.name, holds, option.allowed
        shaped = self.combination != "sum" and self.shaping != "none"
        yield "shaping", not shaped, "none, because combination 'sum' alone makes a sum to shape"
        if self.combination == "normalise_then_sum":
            normalised = [objective.name for objective in OBJECTIVES.values() if objective.normalised]
            holds = self.objective in normalised and not self.overlong_ramp
            allowed = f"'normalise_then_sum' takes overlong_cache 0 and an objective of {', '.join(normalised)}"
            yield "combination", holds, allowed
        if self.combination == "more":
            holds = self.objective == "grpo" and self.engine == "fast" and self.updates_per_batch == 1
            holds = holds and not self.overlong_ramp and set(self.reward_weights.values()) <= {0.0, 1.0}
            allowed = "objective grpo, engine fast, updates_per_batch 1, overlong_cache 0 and weights 0 or 1"
            yield "combination", holds, f"'more' takes {allowed}, because it finds the weights itself"

    # --- what follows from the parameters ---

    @property
    def is_world(self) -> bool:
        return SOURCES[self.source].world

    @property
    def has_options(self) -> bool:
        """Whether scenarios are answered with one of their options; MoReBench's are answered openly."""
        return SOURCES[self.source].options

    @property
    def instructed(self) -> bool:
        """Whether the model follows instructions; one that is made from nothing knows only its warm start."""
        return not names.model_of(self.model).made

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
        return reward_weights(self.rewards)

    @property
    def run_dir(self) -> Path:
        """One folder per axis, profile, world, condition and seed."""
        place = (self.run_root, self.axis, self.profile, self.place, self.condition, f"seed{self.seed}")
        return RUNS.parent.joinpath(*place)

    @property
    def place(self) -> str:
        """The world as claims and folders call it: a name of the axis, or the source."""
        return self.world or self.source

    # --- reading and writing ---

    @classmethod
    def of(cls, values: Mapping) -> "RunParams":
        """Parameters from a mapping; unknown names are refused with the nearest known ones."""
        refuse_unknown(values)
        return cls(**values)

    @classmethod
    def of_config(cls, config: Mapping) -> "RunParams":
        """Parameters of a run's config.json, which holds content hashes too; what an older run lacks is its default."""
        return cls(**{name: value for name, value in names.of_today(config).items() if name in parameters()})

    def as_dict(self) -> dict[str, str | int | float | bool]:
        """Every parameter by name, options too: what config.json and the manifest hold."""
        return dict(vars(self))

    @classmethod
    def resolve(cls, given: Mapping) -> "RunParams":
        """Defaults < profile < settings of the axis < those in profile and world < the condition's row < `given` (what
        papermill or a reader set). Raises ValueError that names the file for an unknown parameter in any of them."""
        profile, axis, world, condition = (typed(name, given.get(name, COMMON[name].default), str) for name in CHOOSE)
        of_profile, of_axis = read_profile(profile, PARAMS, given), read_axis(axis, PARAMS)
        for place, settings in ((f"{PARAMS}/profiles/{profile}.yaml", of_profile), *of_axis.places()):
            refuse_unknown(settings, f"{place}: ")
        chosen = {"profile": profile, "axis": axis, "world": world, "condition": condition}
        of_files = of_profile | of_axis.of(condition, profile, world)
        refuse_other_source(axis, world, of_files.get("source", COMMON["source"].default), given)
        return cls.of(of_files | dict(given) | chosen)


COMMON: dict[str, Option] = {
    f.name: Option(f.name, f.default, f.metadata["help"], *f.metadata["rule"], path=f.metadata["path"])
    for f in dataclasses.fields(RunParams)
    if f.name != "options"
}


def parameters() -> dict[str, Option]:
    """name -> what it is, of every parameter: the common ones, and the options that objectives and rewards declare."""
    options = names.options()
    for name in COMMON.keys() & options.keys():
        raise ValueError(f"option {name!r} of {names.readers(name)} bears the name of another parameter")
    return COMMON | options


def refuse_unknown(values: Mapping, place: str = "") -> None:
    """Raise ValueError for a name that no parameter bears, with the nearest known ones."""
    known = parameters()
    for name in sorted(set(values) - set(known)):
        near = names.nearest(name, known) or ";"
        raise ValueError(f"{place}unknown parameter {name!r}{near} python -m studylib run --list shows all")


def parameter_help() -> list[tuple[str, str, str | int | float | bool, str]]:
    """(group, name, default, help) of every parameter, group by group; an option's group says who reads it."""
    lines, group = [], ""
    for name, option in COMMON.items():
        group = GROUPS.get(name, group)
        lines.append((group, name, option.default, option.help))
    for name, option in sorted(names.options().items(), key=lambda item: names.readers(item[0])):
        lines.append((f"only {names.readers(name)}", name, option.default, option.help))
    return lines
