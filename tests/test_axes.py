"""Parameter files: profiles, and axes with a row for each condition; what a file may not hold is refused by its name.

Run: python -m pytest tests/test_axes.py
"""

import hashlib
import json

import pytest
import yaml

from studylib.axes import axis_names, profile_names, read_axis, read_profile, read_yaml
from studylib.params import RunParams
from studylib.paths import ROOT

REPOSITORY = ROOT / "params"  # the tests' own files (conftest.py) are elsewhere
PROFILES = profile_names(REPOSITORY)
CONDITIONS = [
    (axis, condition) for axis in axis_names(REPOSITORY) for condition in read_axis(axis, REPOSITORY).conditions
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes parameter files below tmp_path, from which runs are then resolved; name -> text."""
    monkeypatch.setattr("studylib.params.PARAMS", tmp_path)
    (tmp_path / "profiles").mkdir()

    def write(**texts: str):
        for name, text in {"profiles/p": "", "a": "conditions: {c: }\n", **texts}.items():
            (tmp_path / f"{name}.yaml").write_text(text or "{}")
        return tmp_path

    return write


def resolved(**given) -> RunParams:
    return RunParams.resolve({"profile": "p", "axis": "a", "condition": "c", **given})


# --- the files of the repository ---


@pytest.mark.parametrize("axis, condition", CONDITIONS, ids=["/".join(pair) for pair in CONDITIONS])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_condition_makes_a_valid_run_in_every_profile(monkeypatch, profile, axis, condition):
    monkeypatch.setattr("studylib.params.PARAMS", REPOSITORY)
    if read_profile(profile, REPOSITORY)["model"] == "tiny" and condition in ("base_best_prompt", "base_few_shot"):
        with pytest.raises(ValueError, match="and 0 for the tiny model, which is not instructed"):
            RunParams.resolve({"profile": profile, "axis": axis, "condition": condition})
        return
    params = RunParams.resolve({"profile": profile, "axis": axis, "condition": condition})
    assert (params.profile, params.axis, params.condition) == (profile, axis, condition)
    assert read_profile(profile, REPOSITORY)["profile"] == profile


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("world", read_axis("landscape", REPOSITORY).settings_by_world)
def test_every_condition_of_the_landscape_makes_a_valid_run_in_every_world(monkeypatch, profile, world):
    monkeypatch.setattr("studylib.params.PARAMS", REPOSITORY)
    for condition in read_axis("landscape", REPOSITORY).conditions:
        given = {"profile": profile, "axis": "landscape", "condition": condition, "world": world}
        params = RunParams.resolve(given)
        assert (params.place, params.source, params.run_dir.parts[-3]) == (world, "plural_norms", world)


@pytest.mark.parametrize("world", read_axis("perspectives", REPOSITORY).settings_by_world)
def test_conditions_of_perspectives_differ_in_traces_and_rewards_alone(monkeypatch, world):
    monkeypatch.setattr("studylib.params.PARAMS", REPOSITORY)
    rows = read_axis("perspectives", REPOSITORY).conditions
    for profile in PROFILES:
        runs = [
            RunParams.resolve({"profile": profile, "axis": "perspectives", "condition": c, "world": world})
            for c in rows
        ]
        differ = {name for run in runs for name, value in run.as_dict().items() if value != runs[0].as_dict()[name]}
        assert differ == {"condition", "traces", "merge", "rewards", "steps"} and runs[0].source == "council_norms"
        assert len({run.steps for run in runs if run.steps}) == 1, "all that are rewarded are so for as many answers"


FIRST = json.loads((ROOT / "tests/resolved.json").read_text())  # of the code that had a file for each condition


@pytest.mark.parametrize("path", FIRST["conditions"])
def test_the_first_conditions_resolve_to_the_values_that_they_always_had(monkeypatch, path):
    """In all profiles of then; tiny_cpu's 60 steps of axis objective were the workflow's."""
    monkeypatch.setattr("studylib.params.PARAMS", REPOSITORY)
    axis, condition = path.split("/")
    runs = [
        RunParams.resolve({"profile": p, "axis": axis, "condition": condition}).as_dict() for p in FIRST["profiles"]
    ]
    for run in runs:  # by the names of then: of the gate's value
        run["diversity_gate"] = {"correct": "verdict"}.get(run["diversity_gate"], run["diversity_gate"])
        if run["model"] != "tiny":  # whose warm start could not be chosen, because there was none
            assert run["warm_start_steps"] == 0
            run["warm_start_steps"] = 150
        if run["objective"] == "vargrad":  # which was called after another
            run |= {"objective": "gflowrl", "condition": "gflowrl"}
    text = json.dumps([{name: run[name] for name in FIRST["names"]} for run in runs], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == FIRST["conditions"][path]


def test_conditions_of_the_inputs_axis_differ_in_inputs_alone():
    runs = {name: RunParams.resolve({"condition": name}) for name in ("narrow", "medium", "broad")}
    budget = {(p.train_prompts, p.steps, p.answers_per_step, p.max_new_tokens, p.learning_rate) for p in runs.values()}
    assert len(budget) == 1
    assert {name: (p.n_domains, p.n_styles) for name, p in runs.items()} == {
        "narrow": (1, 1), "medium": (4, 2), "broad": (12, 4),
    }  # fmt: skip


def test_the_tiny_profile_is_the_defaults():
    assert RunParams.resolve({}) == RunParams(eval_every=20), "older runs, which lack the name, were not looked at"


def test_what_comes_later_wins(files):
    axis = """
        settings: {lora_r: 2, lora_alpha: 2, eval_samples: 2, seed: 2}
        settings_by_profile: {p: {lora_alpha: 3, eval_samples: 3, seed: 3}, q: {save_every: 9}}
        settings_by_world: {w: {eval_samples: 6, temperature: 0.5, seed: 3}, v: {temperature: 0.7}}
        conditions: {c: {eval_samples: 4, seed: 4}, d: {save_every: 8}}"""
    files(**{"profiles/p": "steps: 7\nlora_r: 1\nlora_alpha: 1\nseed: 1", "profiles/q": "", "a": axis})
    params = resolved(answers_per_step=8, generations=4, micro_batch=8, seed=5, world="w")
    assert (params.steps, params.lora_r, params.lora_alpha, params.eval_samples, params.seed) == (7, 2, 3, 4, 5)
    assert params.save_every == RunParams().save_every, "another profile's, another row's"
    assert params.temperature == 0.5 and resolved(answers_per_step=8, generations=4, micro_batch=8).temperature == 1.0
    with pytest.raises(ValueError, match="a.yaml has no world 'u' in settings_by_world; known: w, v"):
        resolved(world="u")


def test_a_world_of_an_axis_is_made_of_its_source_alone(files):
    worlds = "settings_by_world: {w: {lora_r: 2}, local_norms: {lora_r: 4}, universal_norms: {}}\nconditions: {c: }\n"
    files(**{"profiles/p": "", "a": "settings: {source: universal_norms}\n" + worlds})
    assert resolved(world="w", source="universal_norms").place == "w"
    with pytest.raises(
        ValueError, match="world 'w' of axis 'a' is made of source 'universal_norms', not 'local_norms'"
    ):
        resolved(world="w", source="local_norms")
    assert resolved(world="universal_norms").place == "universal_norms"
    with pytest.raises(
        ValueError, match="world 'local_norms' of axis 'a' is made of source 'universal_norms': give it a"
    ):
        resolved(world="local_norms")


def test_a_condition_is_added_by_one_row(files, monkeypatch):
    text = (REPOSITORY / "inputs.yaml").read_text()
    files(inputs=text + "  half: {n_domains: 6, n_styles: 4}\n", **{"profiles/tiny_cpu": ""})
    params = RunParams.resolve({"condition": "half"})
    assert (params.n_domains, params.run_dir.parent.name) == (6, "half")
    assert RunParams.resolve({"condition": "broad"}) == RunParams(), "and the others stay as they are"


def test_an_axis_is_added_by_one_file(files):
    own = """\
        question: Does a longer answer help?
        worlds: local_norms universal_norms
        baseline: short
        settings: {objective: dr_grpo}
        conditions:
          short: {max_new_tokens: 28}
          long: {max_new_tokens: 56}
        """
    assert len(own.splitlines()) <= 15
    files(length=own)
    params = RunParams.resolve({"profile": "p", "axis": "length", "condition": "long"})
    assert (params.objective, params.max_new_tokens) == ("dr_grpo", 56)


def test_a_users_own_file_comes_on_top_as_papermill_reads_it():
    """One that chooses a condition, as the files of conditions did, or changes anything else."""
    own = yaml.safe_load("axis: inputs\ncondition: narrow\nn_domains: 2\nlearning_rate: 1e-3\nrewards: verdict=1.0\n")
    params = RunParams.resolve(own)
    assert (params.condition, params.n_domains, params.n_styles, params.learning_rate) == ("narrow", 2, 1, 1e-3)
    assert params.reward_weights == {"correct": 1.0}, "a former name"


@pytest.mark.parametrize(
    "text, message",
    [
        ("conditions: {c: {n_domain: 1}}", "a.yaml, conditions, c: unknown parameter 'n_domain'; .* mean n_domains"),
        ("conditions: {c: }\nsettings: {step: 1}", "a.yaml, settings: unknown parameter 'step'; .*did you mean steps"),
        ("conditions: {c: , d: {flow_bet: 1}}", "a.yaml, conditions, d: unknown parameter 'flow_bet'; .* flow_beta"),
        ("conditions: {c: {steps: [1]}}", "a.yaml, conditions, c: parameter 'steps' is nested"),
        ("conditions: {c: {steps: {a: 1}}}", "a.yaml, conditions, c: parameter 'steps' is nested"),
        ("conditions: {c: {1: 2}}", "a.yaml, conditions, c: 1 is no name of a parameter"),
        ("conditions: {c: 3}", "a.yaml, conditions, c: 3 must be a mapping"),
        ("conditions: [c]", r"a.yaml, conditions: \['c'\] must be a mapping"),
        ("conditions: {c: {condition: d}}", "a.yaml, conditions, c: condition is given to a run"),
        ("settings: {profile: p}\nconditions: {c: }", "a.yaml, settings: profile is given to a run"),
        ("conditions: {123: {}}", "a.yaml, conditions: 123 is no name; one word of text, in quotes"),
        ("conditions: {? : {}}", "a.yaml, conditions: None is no name"),
        ("conditions: {a b: {}}", "a.yaml, conditions: 'a b' is no name"),
        ("conditions: {..: {}}", r"a.yaml, conditions: '\.\.' is no name"),
        ("conditions: {a/b: {}}", "a.yaml, conditions: 'a/b' is no name"),
        ("conditions: {c: {}, c: {}}", "a.yaml, line 1: key 'c' comes twice"),
        ("conditions:\n  c: {steps: 2,\n    steps: 4}", "a.yaml, line 3: key 'steps' comes twice"),
        ("condition: {c: {}}", "a.yaml: unknown section 'condition'; .*did you mean conditions"),
        (
            "settings_by_profile: {q: {}}\nconditions: {c: }",
            r"settings_by_profile: no parameter file .*q\.yaml; known: p",
        ),
        ("question: why", "a.yaml has no conditions"),
        ("conditions: {d: , cc: }", "a.yaml has no condition 'c'; known: d, cc"),
        ("- c", "a.yaml, line 1: must hold a mapping"),
        ("conditions: {c: {steps: 3, micro_batch: 7}}", "micro_batch = 7 is not allowed: a divisor of the 64"),
    ],
)
def test_an_axis_file_that_is_wrong_is_refused_by_its_name(files, text, message):
    files(a=text)
    with pytest.raises(ValueError, match=message):
        resolved()


@pytest.mark.parametrize("name", ["../a", "profiles/p", "", ".", "b"])
def test_an_axis_is_a_file_of_the_folder(files, name):
    files()
    with pytest.raises(ValueError, match="no parameter file"):
        resolved(axis=name)


# --- as papermill reads a flat file ---


@pytest.mark.parametrize(
    "line, message",
    [
        ("seed: 010", "seed is 10 in YAML 1.2, and papermill's -f reads 8"),
        ("save_every: 1:30", "save_every is '1:30' in YAML 1.2, and papermill's -f reads 90"),
        ("rollout_compile: on", "rollout_compile is 'on' in YAML 1.2, and papermill's -f reads True"),
        ("seed: 1_000", "seed is '1_000' in YAML 1.2, and papermill's -f reads 1000"),
    ],
)
def test_a_value_that_papermill_reads_as_another_is_refused(files, line, message):
    files(**{"profiles/p": line})
    as_papermill = {"learning_rate": "1e-3", **yaml.safe_load(line)}
    with pytest.raises(ValueError, match=rf"p\.yaml: {message}"):
        resolved(**as_papermill)


@pytest.mark.parametrize("profile", PROFILES)
def test_papermill_reads_a_profile_as_the_package_does(monkeypatch, profile):
    monkeypatch.setattr("studylib.params.PARAMS", REPOSITORY)
    RunParams.resolve(yaml.safe_load((REPOSITORY / f"profiles/{profile}.yaml").read_text()))


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
