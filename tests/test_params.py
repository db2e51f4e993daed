"""Parameters: flat, typed, and refused with the key, the value and what is allowed before anything else happens.

Run: python -m pytest tests/test_params.py
"""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from studylib import names
from studylib.names import OBJECTIVES, REWARDS, Option, Reward
from studylib.params import RunParams, parameter_help, parameters
from studylib.paths import ROOT
from studylib.scenarios.vocabulary import DOMAINS

TRACE_OPTIONS = (
    "traces", "trace_scenarios", "trace_roles", "trace_samples", "trace_tokens", "trace_learning_rate",
    "role_diversity", "merge",
)  # fmt: skip
OF_SOME = {  # option -> who reads it
    "dpo_nll": "objective dpo", "flow_beta": "objectives flowrl, flowrl_released, vargrad, flowrl_raw",
    "gflow_beta": "objective gflowrl", "flow_eps_low": "objective gflowrl", "flow_eps_high": "objective gflowrl",
    "dpg_alpha": "objective alpha_dpg", "head_learning_rate": "objectives ppo, flowrl, flowrl_released, flowrl_raw",
    "rubric_grader": "reward rubric",
    "rubric_score": "reward rubric", "judge": "reward rubric", "rater_share": "reward rating_any_of",
    "embedder": "rewards dispersion, length_matched_dispersion",
    "embedder_revision": "rewards dispersion, length_matched_dispersion", "diversity_window": "rewards diversity, ",
    "diversity_gate": "rewards diversity, ", "evaluator": "reward stance", "evaluator_noise": "reward stance",
    "train_sources": "sources ethics_justice, ", "n_frameworks": "sources universal_norms, local_norms",
    "council": "source council_norms",
    **dict.fromkeys(TRACE_OPTIONS, "sources council_norms, ethics_justice, "),
    "chosen_by": "sources universal_norms, ", "repeats": "sources universal_norms, ",
    "label_noise": "sources universal_norms, ", "accepted_stances": "source plural_norms",
    "message_dimensions": "source told_values", "message_outlooks": "source told_values",
    "message_wordings": "source told_values", "message_shuffled": "source told_values",
    "instruction": "objective base", "few_shot": "objective base",
    "population": "source rated_norms", "rating_form": "source rated_norms", "rater_pool": "sources rated_norms, ",
    "rating_scale": "sources rated_norms, ", "raters_each": "sources rated_norms, ",
    "disagreement": "sources rated_norms, ", "rater_model": "sources rated_norms, ",
}  # fmt: skip


# --- options: parameters that only some objectives or rewards read ---


def test_at_most_45_parameters_are_everyones_and_the_rest_says_who_reads_it():
    lines = parameter_help()
    assert [name for _, name, *_ in lines] == list(dict.fromkeys(name for _, name, *_ in lines))
    assert {name for _, name, *_ in lines} == set(parameters()) == set(RunParams().as_dict())
    groups = {name: group for group, name, *_ in lines if group.startswith("only ")}
    assert len(lines) - len(groups) <= 45 and groups.keys() == OF_SOME.keys()
    assert all(groups[name].startswith(f"only {readers}") for name, readers in OF_SOME.items())
    assert all(help and RunParams().as_dict()[name] == default for _, name, default, help in lines)


def test_an_option_is_given_and_asked_for_as_any_other_parameter():
    for make in (RunParams.of, RunParams.resolve, lambda values: RunParams(**values)):
        params = make({"objective": "flowrl", "beta": "1", "flow_beta": "3"})
        assert params.flow_beta == 3.0 and params.as_dict()["flow_beta"] == 3.0 and params.dpo_nll == 0.0
    later = dataclasses.replace(params, seed=2)
    assert (later.seed, later.flow_beta) == (2, 3.0) and later != dataclasses.replace(later, flow_beta=4.0)
    assert RunParams.of(later.as_dict()) == later and RunParams(flow_beta=15.0) == RunParams()
    assert RunParams.of_config({**later.as_dict(), "judge_content": "abc"}) == later
    assert {**RunParams.of_config({"seed": 2}).as_dict(), "seed": 0} == RunParams().as_dict()


def test_a_finished_run_of_gflowrl_without_a_beta_of_its_own_was_trained_as_vargrad():
    config = RunParams(objective="vargrad", beta=1.0, flow_beta=3.0).as_dict() | {"objective": "gflowrl"}
    older = {name: value for name, value in config.items() if name not in ("gflow_beta", "flow_eps_low")}
    assert RunParams.of_config(older) == RunParams(objective="vargrad", beta=1.0, flow_beta=3.0)
    today = RunParams(objective="gflowrl", beta=1.0, gflow_beta=4.0)
    assert RunParams.of_config(today.as_dict()) == today


def test_a_flow_gap_may_raise_an_answer_by_less_than_it_may_lower_it():
    RunParams(objective="gflowrl", beta=1.0, flow_eps_low=3.9)
    for low in (4.0, 5.0):
        with pytest.raises(ValueError, match=f"flow_eps_low = {low} is not allowed: .*below flow_eps_high"):
            RunParams(objective="gflowrl", beta=1.0, flow_eps_low=low)
    for alpha in (1.0, -0.1):
        with pytest.raises(ValueError, match=f"dpg_alpha = {alpha} is not allowed: 0 <= alpha < 1"):
            RunParams(objective="alpha_dpg", beta=1.0, dpg_alpha=alpha)


def test_an_option_is_refused_where_no_objective_reads_it_and_kept_where_no_reward_does():
    for value, message in ((3.0, "flow_beta = 3.0 is not allowed: 15.0, because objective 'grpo' does not read it"),
                           (0, "flow_beta = 0.0 is not allowed: a number > 0")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            RunParams(flow_beta=value)
    assert RunParams(rubric_score="morebench", rater_share=0.5, diversity_window=8).rater_share == 0.5
    assert RunParams(objective="base", steps=0, flow_beta=3.0).flow_beta == 3.0, "nothing is trained"


def test_a_reward_with_an_option_brings_its_parameter(monkeypatch):
    monkeypatch.setattr(REWARDS, "_records", dict(REWARDS._records))
    brevity = Option("longest", 20, "words above which nothing is paid", lambda value: value > 0, "at least one word")
    REWARDS.add(Reward("brevity", make=lambda params, grader: None, options=(brevity,)))
    params = RunParams(rewards="correct=1 brevity=0.1", longest="12")
    assert params.longest == 12 and params.options["longest"] == 12 and ("longest" in parameters())
    assert ("only reward brevity", "longest", 20, brevity.help) in parameter_help()
    with pytest.raises(ValueError, match="longest = 0 is not allowed: at least one word"):
        RunParams(longest=0)
    with pytest.raises(ValueError, match=r"kindness=1' is not allowed: .*brevity|brevty"):
        RunParams(rewards="kindness=1")
    for option in (Option("longest", 21, "another"), Option("steps", 1, "a common one")):
        REWARDS.add(Reward("other", make=lambda params, grader: None, options=(option,)))
        with pytest.raises(ValueError, match=f"option '{option.name}' of .* another"):
            RunParams()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"objective": "flowr"}, "objective = 'flowr' is not allowed: one of .*; did you mean flowrl"),
        ({"rewards": "corect=1"}, "rewards = 'corect=1' is not allowed: no reward 'corect'; did you mean correct"),
        ({"shaping": "pra"}, "shaping = 'pra' is not allowed: one of none, .*; did you mean par"),
        ({"source": "local_norm"}, "source = 'local_norm' is not allowed: one of .*; did you mean local_norms"),
        ({"flow_bet": 1}, "unknown parameter 'flow_bet'; did you mean flow_beta"),
        ({"options": "x"}, "unknown parameter 'options'"),
        ({"condition": "brod"}, "has no condition 'brod'; known: narrow, medium, broad; did you mean broad"),
        ({"axis": "input"}, r"no parameter file .*input\.yaml; known: .*; did you mean inputs"),
        ({"profile": "tiny"}, r"no parameter file .*tiny\.yaml; known: .*; did you mean tiny_cpu"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_ones(given, message):
    with pytest.raises(ValueError, match=message):
        RunParams.resolve(given)


def test_a_registry_gives_a_record_by_its_name_of_today_or_a_former_one():
    assert REWARDS.of("correct") is REWARDS.of("verdict") and "verdict" not in list(REWARDS)
    with pytest.raises(ValueError, match="no objective 'dpo2'; known: .*; did you mean dpo"):
        OBJECTIVES.of("dpo2")


def test_a_record_with_the_former_name_of_another_is_refused():
    with pytest.raises(ValueError, match="'verdict' is a former name of reward 'correct'; give another name"):
        REWARDS.add(Reward("verdict", None))


@pytest.mark.parametrize("module", ["rewards.surface", "scenarios.sources.morebench", "training.objectives"])
def test_records_have_one_order_whichever_module_is_imported_first(module):
    code = "from studylib import names; print([list(r) for r in vars(names).values() if isinstance(r, names.Registry)])"
    orders = {
        subprocess.run([sys.executable, "-c", f"{first}{code}"], capture_output=True, text=True, check=True).stdout
        for first in ("", f"import studylib.{module}; ")
    }
    assert len(orders) == 1


def test_a_record_of_ones_own_takes_the_place_of_a_built_in_one_before_the_registry_was_ever_asked():
    code = "from studylib.names import OBJECTIVES, Objective; OBJECTIVES.add(Objective('grpo', kind='none')); "
    code += "import studylib.training.objectives; print(OBJECTIVES['grpo'].kind, len(OBJECTIVES))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["none", str(len(names.OBJECTIVES))]


def test_parameters_are_read_without_torch_and_every_registry_is_asked_without_it():
    asked = (
        "RunParams(objective='ppo', beta=0.1); [len(r) for r in vars(names).values() if isinstance(r, names.Registry)]"
    )
    code = f"from studylib import names; from studylib.params import RunParams; {asked}"
    code += "; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_names_of_domains_are_those_of_the_worlds():
    assert tuple(DOMAINS)[: len(names.TRAIN_DOMAINS)] == names.TRAIN_DOMAINS


# --- values ---


@pytest.mark.parametrize("value, number", [("1e-5", 1e-5), (1, 1.0), ("0.5", 0.5)])
def test_text_that_is_a_number_is_a_number(value, number):
    assert RunParams(learning_rate=value).learning_rate == number


@pytest.mark.parametrize(
    "given, message",
    [
        ({"learning_rate": "fast"}, "parameter learning_rate = 'fast' is not allowed: a number"),
        ({"learning_rate": "nan"}, "learning_rate = 'nan'"),
        ({"learning_rate": 0}, "learning_rate = 0.0 is not allowed: a number > 0"),
        ({"learning_rate": None}, "learning_rate = None"),
        ({"learning_rate": True}, "learning_rate = True"),
        ({"seed": 1.5}, "parameter seed = 1.5 is not allowed: an integer"),
        ({"seed": "one"}, "parameter seed = 'one' is not allowed: an integer"),
        ({"seed": -1}, "seed = -1 is not allowed: an integer >= 0"),
        ({"seed": True}, "seed = True"),
        ({"seed": "inf"}, "seed = 'inf'"),
        ({"data_dir": 3}, "parameter data_dir = 3 is not allowed: text"),
        ({"gradient_checkpointing": "yes"}, "gradient_checkpointing = 'yes' is not allowed: true or false"),
        ({"answers_per_step": 50}, "answers_per_step = 50 is not allowed: a multiple of generations = 4"),
        ({"micro_batch": 48}, "micro_batch = 48 is not allowed: a divisor of the 64 answers"),
        ({"generations": 1}, "generations = 1 is not allowed: an integer >= 2"),
        ({"generations": 0}, "generations = 0 is not allowed: an integer >= 2"),
        (
            {"source": "internet"},
            "source = 'internet' is not allowed: one of universal_norms, local_norms, plural_norms",
        ),
        ({"objective": "magic"}, "objective = 'magic' is not allowed: one of grpo"),
        ({"device": "tpu"}, "device = 'tpu' is not allowed: one of cpu, cuda"),
        ({"n_domains": 13}, "n_domains = 13 is not allowed: 1..12"),
        ({"n_styles": 0}, "n_styles = 0 is not allowed: 1..4"),
        ({"facts_told": 6}, "facts_told = 6 is not allowed: 1..5"),
        ({"frameworks": "nihilism"}, "frameworks = 'nihilism' is not allowed: one or more of act_utilitarianism"),
        ({"frameworks": ""}, "frameworks = ''"),
        ({"eval_scenarios": 81}, "eval_scenarios = 81 is not allowed: an even number"),
        ({"steps": 1, "answers_per_step": 4, "micro_batch": 4}, "steps = 1 is not allowed: .*even number"),
        ({"rewards": "kindness=1"}, "rewards = 'kindness=1' is not allowed: .*correct, format"),
        ({"rewards": "correct=0"}, "at least one reward"),
        ({"rewards": "correct=1 correct=2"}, "each name once"),
        ({"rewards": "correct"}, "rewards = 'correct' is not allowed"),
        ({"model": "Qwen/Qwen2.5-0.5B-Instruct"}, "revision = '' is not allowed: a commit that pins"),
        ({"sed": 1}, "unknown parameter 'sed'; did you mean seed.* python -m studylib run --list shows all$"),
        ({"profile": "laptop"}, "no parameter file .*laptop.yaml"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(given, message):
    with pytest.raises(ValueError, match=message):
        RunParams.resolve(given)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"rewards": "correct=inf"}, "weight 'inf' of correct is 0 or 1e-18 to 1e.18 in size"),
        ({"rewards": "correct=1e39"}, "weight '1e39' of correct"),
        ({"rewards": "correct=1 format=-1e300"}, "weight '-1e300' of format"),
        ({"rewards": "correct=1e-46"}, "weight '1e-46' of correct"),
        ({"rewards": "correct=nan"}, "weight 'nan' of correct"),
        ({"rewards": "correct="}, "weight '' of correct"),
        ({"rewards": "correct=1=2"}, "weight '1=2' of correct"),
        ({"rewards": "correct=1_0"}, "weight '1_0' of correct"),
        ({"rewards": "correct=１"}, "weight '１' of correct"),
        ({"rewards": "correct=1 format=1 correct=1"}, "each name once"),
        ({"rewards": ""}, "at least one reward"),
        ({"run_root": " "}, "run_root = ' ' is not allowed: a folder"),
        ({"rewards": "=1"}, "name=weight pairs"),
        ({"learning_rate": float("inf")}, "learning_rate = inf is not allowed: a number > 0 whose square float32"),
        ({"learning_rate": 1e39}, "learning_rate = 1e.39 is not allowed"),
        ({"learning_rate": 10**400}, "learning_rate = 10+ is not allowed: a number"),
        ({"temperature": 1e-46}, "temperature = 1e-46 is not allowed: a number > 0"),
        ({"max_grad_norm": 1e-45}, "max_grad_norm = 1e-45 is not allowed"),
        ({"flow_beta": "1e39"}, "flow_beta = 1e.39 is not allowed"),
        ({"beta": 1e-50}, "beta = 1e-50 is not allowed"),
        ({"objective": "ppo", "beta": 1e-50}, "beta = 1e-50 is not allowed"),
        ({"dpo_nll": 3e38}, "dpo_nll = 3e.38 is not allowed: a number >= 0"),
        ({"head_learning_rate": "-.inf"}, "head_learning_rate = '-.inf' is not allowed: a number"),
        ({"overlong_cache": 1e-9}, "overlong_cache = 1e-09 is not allowed: a share, 0..1, of one token or more"),
        ({"seed": 2**32}, "seed = 4294967296 is not allowed: an integer >= 0, at most 4294967295"),
        ({"seed": 1e300}, "seed = 1e.300 is not allowed: an integer"),
        ({"seed": "1e999999999"}, "seed = '1e999999999' is not allowed: an integer"),
        ({"seed": "1e-999999999"}, "seed = '1e-999999999' is not allowed: an integer"),
        ({"seed": 2.0**53 + 2}, "seed = 9007199254740994.0 is not allowed: an integer"),
        ({"seed": 2**53 + 1}, "seed = 9007199254740993 is not allowed: an integer >= 0"),
        ({"seed": str(2**53 + 1)}, "seed = 9007199254740993 is not allowed: an integer >= 0"),
        ({"save_every": 2**31}, "save_every = 2147483648 is not allowed: an integer >= 1, at most 2147483647"),
        ({"steps": 1 << 40}, "steps = 1099511627776 is not allowed"),
        ({"seed": "1_0"}, "seed = '1_0' is not allowed: an integer"),
        ({"seed": "１０"}, "seed = '１０' is not allowed: an integer"),
        ({"seed": "1:30"}, "seed = '1:30' is not allowed: an integer"),
        ({"learning_rate": " 1e-3"}, "learning_rate = ' 1e-3' is not allowed: a number"),
    ],
)
def test_numbers_beyond_what_can_work_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        RunParams.resolve(given)


@pytest.mark.parametrize(
    "value, seed", [(3.0, 3), ("3.0", 3), ("3e2", 300), ("007", 7), (4294967295, 2**32 - 1), (np.int64(5), 5)]
)
def test_a_whole_number_is_an_integer_however_it_is_written(value, seed):
    assert RunParams(seed=value).seed == seed and type(RunParams(seed=value).seed) is int


@pytest.mark.parametrize("weights", [{"correct": 1e-3}, {"correct": -2.5, "format": 0.0}, {"format": 1e6}])
def test_weights_of_any_sensible_size_are_read(weights):
    assert RunParams(rewards=" ".join(f"{name}={weight}" for name, weight in weights.items())).reward_weights == weights


@pytest.mark.parametrize("name", ["run_root", "data_dir", "judge", "model", "embedder"])
def test_a_tilde_is_the_home_folder_and_an_unknown_user_is_refused(monkeypatch, tmp_path, name):
    monkeypatch.setenv("HOME", str(tmp_path / "Zoë's home"))
    pinned = {"revision": "a" * 40, "embedder_revision": "a" * 40}
    given = getattr(RunParams.resolve({name: "~/my runs", **pinned}), name)
    assert given == str(tmp_path / "Zoë's home" / "my runs")
    with pytest.raises(
        ValueError, match="path '~nobody-there/x' is not allowed: there is no home folder ~nobody-there"
    ):
        RunParams.resolve({name: "~nobody-there/x", **pinned})


def test_runs_lie_where_run_root_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for run_root, folder in (("~/r", tmp_path / "r"), ("my rüns", ROOT / "my rüns"), (str(tmp_path), tmp_path)):
        assert RunParams(run_root=run_root).run_dir == folder / "inputs/tiny_cpu/local_norms/broad/seed0"


def test_parameters_are_frozen_and_documented():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunParams().seed = 1
    assert all(option.help for option in parameters().values())
