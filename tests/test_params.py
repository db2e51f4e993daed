"""Parameters: flat, typed, and refused with the key, the value and what is allowed before anything else happens."""

import dataclasses

import numpy as np
import pytest
import yaml

from studylib.cells import begin_parameters, given_parameters, refuse_other_parameters
from studylib.params import RunParams, read_yaml
from studylib.paths import PARAMS, ROOT

FILES = sorted(path for path in PARAMS.rglob("*.yaml") if path.parent.name != "plans")  # plans: test_claims_plan.py
CONDITIONS = [path for path in FILES if path.parent.name != "profiles"]
PROFILES = [path.stem for path in FILES if path.parent.name == "profiles"]


@pytest.mark.parametrize("path", CONDITIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
@pytest.mark.parametrize("profile", PROFILES)
def test_every_condition_makes_a_valid_run_in_every_profile(path, profile):
    params = RunParams.resolve({"profile": profile, "axis": path.parent.name, "condition": path.stem})
    named = read_yaml(PARAMS / "profiles" / f"{profile}.yaml") | read_yaml(path)
    assert (named["profile"], named["axis"], named["condition"]) == (profile, path.parent.name, path.stem)
    assert (params.profile, params.axis, params.condition) == (profile, path.parent.name, path.stem)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_files_hold_known_flat_scalars(path):
    assert set(read_yaml(path)) <= {field.name for field in dataclasses.fields(RunParams)}


def test_conditions_of_the_inputs_axis_differ_in_inputs_alone():
    runs = {name: RunParams.resolve({"condition": name}) for name in ("narrow", "medium", "broad")}
    budget = {(p.train_prompts, p.steps, p.answers_per_step, p.max_new_tokens, p.learning_rate) for p in runs.values()}
    assert len(budget) == 1
    assert {name: (p.n_domains, p.n_styles) for name, p in runs.items()} == {
        "narrow": (1, 1), "medium": (4, 2), "broad": (12, 4),
    }  # fmt: skip


def test_the_tiny_profile_is_the_defaults():
    assert RunParams.resolve({}) == RunParams()


def test_given_values_win_over_the_condition_and_the_condition_over_the_profile(tmp_path, monkeypatch):
    for name, text in (("profiles/p.yaml", "steps: 7\nlora_r: 3\nseed: 1\n"), ("a/c.yaml", "lora_r: 4\nseed: 2\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("studylib.params.PARAMS", tmp_path)
    params = RunParams.resolve({"profile": "p", "axis": "a", "condition": "c", "answers_per_step": 8,
                                "generations": 4, "micro_batch": 8, "seed": 3})  # fmt: skip
    assert (params.steps, params.lora_r, params.seed, params.lora_alpha) == (7, 4, 3, 32)


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
        ({"source": "internet"}, "source = 'internet' is not allowed: one of universal_norms, local_norms, ethics"),
        ({"objective": "magic"}, "objective = 'magic' is not allowed: one of grpo"),
        ({"device": "tpu"}, "device = 'tpu' is not allowed: one of cpu, cuda"),
        ({"n_domains": 13}, "n_domains = 13 is not allowed: 1..12"),
        ({"n_styles": 0}, "n_styles = 0 is not allowed: 1..4"),
        ({"facts_told": 6}, "facts_told = 6 is not allowed: 1..5"),
        ({"frameworks": "nihilism"}, "frameworks = 'nihilism' is not allowed: one or more of act_utilitarianism"),
        ({"frameworks": ""}, "frameworks = ''"),
        ({"eval_scenarios": 81}, "eval_scenarios = 81 is not allowed: an even number"),
        ({"steps": 1, "answers_per_step": 4, "micro_batch": 4}, "steps = 1 is not allowed: .*even number"),
        ({"rewards": "kindness=1"}, "rewards = 'kindness=1' is not allowed: .*verdict, format"),
        ({"rewards": "verdict=0"}, "at least one reward"),
        ({"rewards": "verdict=1 verdict=2"}, "each name once"),
        ({"rewards": "verdict"}, "rewards = 'verdict' is not allowed"),
        ({"model": "Qwen/Qwen2.5-0.5B-Instruct"}, "revision = '' is not allowed: a commit that pins"),
        ({"sed": 1}, "unknown parameter 'sed'; known parameters: answers_per_step, axis"),
        ({"condition": "brod"}, "no parameter file .*brod.yaml"),
        ({"profile": "laptop"}, "no parameter file .*laptop.yaml"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(given, message):
    with pytest.raises(ValueError, match=message):
        RunParams.resolve(given)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"rewards": "verdict=inf"}, "weight 'inf' of verdict is 0 or 1e-18 to 1e.18 in size"),
        ({"rewards": "verdict=1e39"}, "weight '1e39' of verdict"),
        ({"rewards": "verdict=1 format=-1e300"}, "weight '-1e300' of format"),
        ({"rewards": "verdict=1e-46"}, "weight '1e-46' of verdict"),
        ({"rewards": "verdict=nan"}, "weight 'nan' of verdict"),
        ({"rewards": "verdict="}, "weight '' of verdict"),
        ({"rewards": "verdict=1=2"}, "weight '1=2' of verdict"),
        ({"rewards": "verdict=1_0"}, "weight '1_0' of verdict"),
        ({"rewards": "verdict=１"}, "weight '１' of verdict"),
        ({"rewards": "verdict=1 format=1 verdict=1"}, "each name once"),
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


@pytest.mark.parametrize("weights", [{"verdict": 1e-3}, {"verdict": -2.5, "format": 0.0}, {"format": 1e6}])
def test_weights_of_any_sensible_size_are_read(weights):
    assert RunParams(rewards=" ".join(f"{name}={weight}" for name, weight in weights.items())).reward_weights == weights


@pytest.mark.parametrize(
    "line, message",
    [
        ("seed: 010", "seed is 10 in YAML 1.2, and papermill's -f reads 8"),
        ("save_every: 1:30", "save_every is '1:30' in YAML 1.2, and papermill's -f reads 90"),
        ("rollout_compile: on", "rollout_compile is 'on' in YAML 1.2, and papermill's -f reads True"),
        ("seed: 1_000", "seed is '1_000' in YAML 1.2, and papermill's -f reads 1000"),
    ],
)
def test_a_value_that_papermill_reads_as_another_is_refused(tmp_path, monkeypatch, line, message):
    for name, text in (("profiles/p.yaml", f"{line}\n"), ("a/c.yaml", "learning_rate: 1e-3\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("studylib.params.PARAMS", tmp_path)
    as_papermill = {"learning_rate": "1e-3", **yaml.safe_load(line)}
    with pytest.raises(ValueError, match=rf"p\.yaml: {message}"):
        RunParams.resolve({"profile": "p", "axis": "a", "condition": "c", **as_papermill})


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_papermill_reads_the_files_as_the_package_does(path):
    RunParams.resolve(yaml.safe_load(path.read_text()))


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


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: {b: 1}", "'a' is nested"),
        ("- 1", "must hold a mapping"),
        ("", "must"),
        ("1: a", "1 is no name"),
        ("a: !!set {b}", "'a' is nested"),
        ("a: !!timestamp 2026-01-01", "'a' is nested"),
    ],
)
def test_a_file_must_be_flat(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_yaml(path)


def test_notebook_parameters_are_those_of_the_two_cells():
    before = {"started"}
    assert given_parameters(before, {"started": 1.0, "seed": 3, "_": 5, "len": len}) == {"seed": 3}


@pytest.mark.parametrize("unknown", [{"sede": 4}, {"learning_rat": 1e-3}, {"row": "text"}, {"data": None}, {"x": (1,)}])
def test_an_unknown_notebook_parameter_is_refused_in_every_pass_and_poisons_none(unknown):
    before, namespace = {"started"}, {"started": 1.0, "seed": 3}
    for _ in range(3):
        assert given_parameters(before, namespace) == {"seed": 3}
        namespace |= unknown
        with pytest.raises(ValueError, match=f"unknown parameter '{next(iter(unknown))}'"):
            RunParams.resolve(given_parameters(before, namespace))


def parameters_cell(namespace: dict, own: str = "", **values) -> None:
    begin_parameters(namespace, own)
    namespace |= values


def test_a_parameter_counts_in_the_pass_that_sets_it_and_what_was_made_of_it_goes_too():
    namespace = {"started": 1.0}
    parameters_cell(namespace, seed=3, learning_rate=1e-3)
    assert given_parameters(namespace["before"], namespace) == {"seed": 3, "learning_rate": 1e-3}
    namespace |= {"params": "made of them", "trainer": [], "row": "a later cell's"}
    parameters_cell(namespace, seed=4)
    assert given_parameters(namespace["before"], namespace) == {"seed": 4}
    assert set(namespace) == {"started", "trainer", "row", "before", "seed"}


def test_a_name_of_a_later_cell_is_no_parameter_until_the_parameters_cell_sets_it():
    namespace = {}
    for number in range(3):
        parameters_cell(namespace, seed=number)
        assert given_parameters(namespace["before"], namespace) == {"seed": number}
        namespace |= {"row": f"row {number}", "data": {}, "total": number}
        assert given_parameters(namespace["before"], namespace) == {"seed": number}, "the cell after it alone, again"
    parameters_cell(namespace, data="/data")
    assert given_parameters(namespace["before"], namespace) == {"data": None}


def test_a_parameters_cell_that_is_run_several_times_before_anyone_reads_it():
    namespace = {}
    parameters_cell(namespace, sede=4, steps=7)
    parameters_cell(namespace, seed=4)
    assert given_parameters(namespace["before"], namespace) == {"seed": 4}, "corrected"
    for _ in range(2):
        parameters_cell(namespace, seed=4, sede=4)
    for _ in range(2):
        assert given_parameters(namespace["before"], namespace) == {"seed": 4, "sede": None}, "and stays refused"


def test_a_notebook_may_have_parameters_of_its_own():
    namespace = {}
    parameters_cell(namespace, "gap_seeds out_root", gap_seeds=1, seed=2)
    assert given_parameters(namespace["before"], namespace) == {"seed": 2}
    parameters_cell(namespace, gap_seed=1)
    assert given_parameters(namespace["before"], namespace) == {"gap_seed": None} and "gap_seeds" not in namespace
    parameters_cell(namespace, "axis out_root", axis="inputs", out_root="x")
    refuse_other_parameters(namespace["before"], namespace)
    for others in ({"seed": 1}, {"outroot": "x"}):
        parameters_cell(namespace, axis="inputs", **others)
        with pytest.raises(ValueError, match=f"unknown parameter '{next(iter(others))}'; .*: axis, out_root$"):
            refuse_other_parameters(namespace["before"], namespace)


def test_a_module_of_a_parameters_name_is_refused_as_its_value():
    import profile

    namespace = {}
    parameters_cell(namespace, profile=profile, json=dataclasses, seed=1)
    with pytest.raises(ValueError, match="profile"):
        RunParams.resolve(given_parameters(namespace["before"], namespace))


def test_parameters_are_frozen_and_documented():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunParams().seed = 1
    assert all(field.metadata["help"] for field in dataclasses.fields(RunParams))
