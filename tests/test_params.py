"""Parameters: flat, typed, and refused with the key, the value and what is allowed before anything else happens."""

import dataclasses

import pytest

from studylib.params import RunParams, begin_parameters, given_parameters, read_yaml, refuse_other_parameters
from studylib.paths import PARAMS

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
    "text, message", [("a: {b: 1}", "'a' is nested"), ("- 1", "must hold a mapping"), ("", "must")]
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
