"""How a study leaves its plan: every way is one sentence, and makes its claims exploratory.

Run: python -m pytest tests/test_claims_departures.py
"""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from test_claims import PLAN, STUDY, write_run

from studylib.axes import read_axis
from studylib.claims import departures, plan, plots, report, tables
from studylib.compare import summarise
from studylib.paths import PARAMS
from studylib.runs.read import read_settings

FILE = PARAMS / "inputs.yaml"
WOBBLE = [0.00, 0.02, -0.01, 0.01, -0.02]
PLACE = "inputs/tiny_cpu"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A study that kept to the plan of axis inputs, as the tests below copy it."""
    root = tmp_path_factory.mktemp("kept")
    for world in PLAN.worlds.split():
        for place, condition in enumerate(("narrow", "medium", "broad")):
            for seed, own in enumerate(np.roll(WOBBLE, place)):
                write_run(root, world, condition, seed, 0.6 + 0.05 * place + own, steps=120, learning_rate=5e-4)
    return root


@pytest.fixture
def root(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "runs")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out/inputs"


def compared(root, out, **options) -> tuple[pd.DataFrame, list[str]]:
    """The planned claims and the notes beside them."""
    _, claims = tables.write_tables(root, out, **STUDY, **options)
    return tables.primary(claims, PLAN), tables.read_table(out, "notes")["note"].tolist()


def edit(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def use_plan(monkeypatch, **changes) -> plan.Plan:
    """As if the file of the plan had been edited."""
    changed = dataclasses.replace(PLAN, **changes)
    monkeypatch.setattr(plan, "read_plan", lambda axis, folder=None: changed)
    return changed


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are drawn and not saved, which takes most of the time of a comparison."""
    monkeypatch.setattr(plots, "save", lambda *figure: [])


def summary(root, out, profile="tiny_cpu", **more) -> str:
    """What the command line prints."""
    return summarise("inputs", profile, run_root=str(root), out_root=str(out.parent), **more).in_words()


# --- tables of another plan are not sold under the plan of now ---


def test_tables_of_a_changed_plan_are_made_again_and_explore(root, out, monkeypatch, unsaved):
    before = summary(root, out)
    assert "margin 0.1" in before and "This claim is confirmatory." in before
    changed = use_plan(monkeypatch, margin=0.3)
    after = summary(root, out)
    assert f"were made under {PLAN.digest}, not {changed.digest}: they are made again." in after
    assert "margin 0.3" in after and "This claim is exploratory." in after and "is confirmatory" not in after


def test_tables_of_another_profile_are_not_read_as_those_of_the_one_asked_for(root, out, unsaved):
    summary(root, out)
    message = "are of profile tiny_cpu, not t4, and cannot be made again: no complete run of axis .inputs. with .* .t4."
    with pytest.raises(ValueError, match=message):
        summary(root, out, "t4")
    for config in shutil.copytree(root / "inputs/tiny_cpu", root / "inputs/t4").rglob("config.json"):
        edit(config, profile="t4")
    assert "made from" in summary(root, out, "t4")
    assert set(tables.read_table(out, "runs")["folder"].str.split("/").str[1]) == {"t4"}


def test_a_margin_on_the_command_line_is_never_read_into_old_tables(root, out, unsaved):
    summary(root, out)
    other = summary(root, out, margin=0.001)
    assert "margin 0.0" in other and "This claim is exploratory." in other and "is confirmatory" not in other
    assert "This claim is confirmatory." in summary(root, out), "the plan's own tables come back"


def test_tables_of_another_plan_without_runs_are_refused(root, out, tmp_path, unsaved):
    summary(root, out)
    message = (
        f"were made under {PLAN.digest}, not .*, and cannot be made again: no folder of runs at {tmp_path}/nowhere"
    )
    with pytest.raises(ValueError, match=message):
        summary(tmp_path / "nowhere", out, margin=0.3)


def test_the_report_refuses_the_tables_of_another_plan(root, out, monkeypatch):
    compared(root, out)
    assert "claims are confirmatory, as planned" in report.write_report("inputs", out).read_text()
    changed = use_plan(monkeypatch, margin=0.3)
    with pytest.raises(ValueError, match=f"under {PLAN.digest}, not under {changed.digest}.*--axis inputs --remake"):
        report.write_report("inputs", out)
    claims = tables.read_table(out, "claims").drop(columns="plan")
    claims.to_csv(out / "claims.csv", index=False)
    with pytest.raises(ValueError, match="an older version without plans"):
        report.write_report("inputs", out)


def test_the_report_gives_the_reason_of_exploratory_claims(root, out):
    for world in PLAN.worlds.split():
        shutil.rmtree(root / PLACE / world / "medium")
    _, notes = compared(root, out)
    page = report.write_report("inputs", out).read_text()
    reasons = "".join(f"<li>{note}</li>" for note in notes)
    assert f"All claims are exploratory, because the study left its plan:</p>\n<ul>{reasons}</ul>" in page


# --- conditions ---


def test_a_condition_that_is_dropped_after_a_look(root, out):
    before, notes = compared(root, out)
    assert notes == [] and set(before["status"]) == {"confirmatory"}
    for world in PLAN.worlds.split():
        shutil.rmtree(root / PLACE / world / "medium")
    after, notes = compared(root, out)
    softer = [claims.set_index(["world", "contrast"])["p_holm"] for claims in (after, before)]
    assert (softer[0] < softer[1][softer[0].index]).all(), "fewer contrasts are corrected for"
    assert set(after["status"]) == {"exploratory"}
    assert notes == [
        f"The plan compares narrow, medium, broad; {world} has no runs of medium." for world in PLAN.worlds.split()
    ]


def test_a_condition_that_was_never_run_and_a_world_with_the_baseline_only(root, out):
    shutil.rmtree(root / PLACE / "local_norms/broad")
    for condition in ("medium", "broad"):
        shutil.rmtree(root / PLACE / "universal_norms" / condition)
    claims, notes = compared(root, out)
    assert notes == [
        "The plan compares narrow, medium, broad; local_norms has no runs of broad.",
        "universal_norms has runs of narrow only: nothing to compare it with.",
    ]
    assert set(claims["status"]) == {"exploratory"}


def test_a_condition_that_comes_after_the_first_comparison_explores_and_leaves_the_planned_claims_as_they_were(
    root, out
):
    before, _ = compared(root, out)
    for world in PLAN.worlds.split():
        for seed in range(5):
            write_run(root, world, "wide", seed, 0.8 + WOBBLE[-seed], steps=120, learning_rate=5e-4)
    after, notes = compared(root, out)
    assert notes == ["wide came after the first comparison: exploratory, in no planned family."]
    assert set(after.query("contrast == 'wide - narrow'")["status"]) == {"exploratory"}
    planned = after[after["contrast"] != "wide - narrow"].reset_index(drop=True)
    pd.testing.assert_frame_equal(planned, before.reset_index(drop=True))
    assert "4 claims are confirmatory" in (page := report.write_report("inputs", out).read_text()) and notes[0] in page


def test_all_contrasts_are_those_of_the_rows_until_the_first_comparison_fixes_them(tmp_path):
    (tmp_path / "inputs.yaml").write_text("conditions: {wide: {n_domains: 11}}")
    assert departures.planned_conditions(PLAN, ["broad"], [], tmp_path) == ["narrow", "broad", "wide"]
    first = [{"digest": PLAN.digest}, {"digest": PLAN.digest, "conditions": ["narrow", "medium"]}]
    assert departures.planned_conditions(PLAN, ["broad"], first, tmp_path) == ["narrow", "medium"]
    assert departures.later_conditions(PLAN, ["narrow", "medium"], ["narrow", "broad"]) == ["broad"]


def test_a_condition_that_the_plan_names_and_nobody_ran(root, out, monkeypatch):
    named = use_plan(monkeypatch, contrasts="broad wide")
    for path in root.rglob("manifest.json"):
        edit(path, plan=named.digest)
    _, notes = compared(root, out)
    assert notes[0] == "The plan compares narrow, broad, wide; local_norms has no runs of wide." and len(notes) == 2


# --- endpoints ---


def without_endpoint(root, pattern: str) -> None:
    for path in sorted((root / PLACE).glob(f"{pattern}/summary.json")):
        splits = json.loads(path.read_text())["splits"]
        for phase in splits[PLAN.primary_split].values():
            phase.pop(PLAN.primary_endpoint)
        edit(path, splits=splits)


@pytest.mark.parametrize("pattern, runs", [("local_norms/broad/*", 5), ("*/*/seed4", 6), ("local_norms/narrow/*", 5)])
def test_runs_without_the_primary_endpoint(root, out, pattern, runs):
    without_endpoint(root, pattern)
    claims, notes = compared(root, out)
    (note,) = notes
    assert note.startswith(
        f"{runs} of 30 runs lack the primary endpoint accuracy_sampled on held_out_domains; the first"
    )
    assert set(claims["status"]) == {"exploratory"}


def test_a_study_without_the_primary_endpoint(root, out):
    without_endpoint(root, "*/*/*")
    claims, notes = compared(root, out)
    assert claims.empty
    assert notes == ["No run has the primary endpoint accuracy_sampled on held_out_domains: there is no planned claim."]


def test_an_endpoint_that_only_some_conditions_have_is_compared_where_the_baseline_has_it(root, out):
    for path in (root / PLACE).glob("*/broad/*/summary.json"):
        splits = json.loads(path.read_text())["splits"]
        for phases in splits.values():
            for phase in phases.values():
                phase["score_sampled"] = -0.25
        edit(path, splits=splits)
    claims, notes = compared(root, out)
    assert notes == [] and set(claims["status"]) == {"confirmatory"}, "as where one condition is rewarded by a rubric"
    scored = tables.read_table(out, "claims").query("endpoint == 'score_sampled'")
    assert set(scored["contrast"]) == {"broad - warm_start"}


# --- settings ---


def test_seeds_of_one_condition_with_other_settings(root, out):
    edit(root / PLACE / "local_norms/broad/seed3/config.json", learning_rate=0.2)
    claims, notes = compared(root, out)
    assert notes == [
        "1 of 30 runs have learning_rate 0.2, not 0.0005, which no condition sets; the first is world local_norms, "
        "condition broad, seed 3."
    ]
    assert set(claims["status"]) == {"exploratory"}


def test_a_study_that_was_cut_short_as_a_whole_says_so(root, out):
    for path in (root / PLACE).glob("*/*/*/config.json"):
        edit(path, steps=4, micro_batch=16)  # the second changes no result
    claims, notes = compared(root, out)
    assert notes == ["All runs have steps 4, not 120 as profile, axis and condition give."]
    assert set(claims["status"]) == {"confirmatory"}, "the plan does not fix them"


def test_conditions_may_differ_in_what_their_own_rows_set_and_in_nothing_else(root, out):
    for condition, domains in {"narrow": 1, "medium": 4, "broad": 12}.items():
        for path in (root / PLACE).glob(f"*/{condition}/*/config.json"):
            edit(path, n_domains=domains)
    assert compared(root, out)[1] == []
    edit(root / PLACE / "local_norms/broad/seed3/config.json", n_domains=4)
    assert compared(root, out)[1][0].startswith("1 of 10 runs have n_domains 4, not 12, which no condition sets;")
    edit(root / PLACE / "local_norms/broad/seed3/config.json", n_domains=12)
    for path in (root / PLACE).glob("*/narrow/*/config.json"):
        edit(path, steps=60)
    assert compared(root, out)[1] == [
        "10 of 30 runs have steps 60, not 120, which no condition sets; the first is world local_norms, "
        "condition narrow, seed 0."
    ]


def test_what_an_axis_sets_for_all_conditions_is_no_setting_of_one(root, out, monkeypatch, tmp_path):
    shared = "settings: {steps: 120}\nsettings_by_profile: {tiny_cpu: {lora_r: 8}}\n"
    text = shared + FILE.read_text()
    monkeypatch.setattr(departures, "read_axis", lambda axis, folder=None: read_axis(axis, tmp_path))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/tiny_cpu.yaml").touch()
    (tmp_path / "inputs.yaml").write_text(text)
    assert compared(root, out)[1] == []
    for path in (root / PLACE).glob("*/narrow/*/config.json"):
        edit(path, steps=60)
    assert compared(root, out)[1][0].startswith("10 of 30 runs have steps 60, not 120, which no condition sets;")


def test_what_an_axis_sets_by_world_may_differ_between_worlds_and_not_within_one(root, out, monkeypatch, tmp_path):
    by_world = "settings_by_world: {local_norms: {lora_r: 8}, universal_norms: {lora_r: 4}}\n"
    monkeypatch.setattr(departures, "read_axis", lambda axis, folder=None: read_axis(axis, tmp_path))
    (tmp_path / "inputs.yaml").write_text(by_world + FILE.read_text())
    for world, rank in (("local_norms", 8), ("universal_norms", 4)):
        for path in (root / PLACE / world).rglob("config.json"):
            edit(path, lora_r=rank)
    assert compared(root, out)[1] == []
    edit(root / PLACE / "local_norms/broad/seed3/config.json", lora_r=4)
    assert compared(root, out)[1][0].startswith("1 of 15 runs have lora_r 4, not 8, which no condition sets;")
    for path in (root / PLACE / "local_norms").rglob("config.json"):
        edit(path, lora_r=16)
    (said,) = compared(root, out)[1]
    assert said.startswith("15 of 15 runs of local_norms have lora_r 16, not 8 as the axis sets it there; the first is")


def test_a_world_of_an_axis_is_the_world_of_its_claims(root, out):
    for path in (root / PLACE / "local_norms").rglob("config.json"):
        edit(path, world="local_norms", source="universal_norms")
    claims, notes = compared(root, out)
    assert set(claims["world"]) == {"local_norms", "universal_norms"} and notes == []


def test_runs_that_are_not_what_the_row_of_their_condition_says(root, out):
    for path in (root / PLACE).glob("*/narrow/*/config.json"):
        edit(path, n_domains=3)
    claims, notes = compared(root, out)
    assert notes == [
        "10 of 10 runs of narrow have n_domains 3, not 1 as the axis sets it there; the first is world local_norms, "
        "condition narrow, seed 0."
    ]
    assert set(claims["status"]) == {"exploratory"}


def test_older_runs_of_a_condition_whose_name_meant_another_objective_are_no_runs_of_it(tmp_path):
    """What was gflowrl is vargrad: docs/objectives.md."""
    study = {"axis": "objective", "condition": "gflowrl", "objective": "gflowrl"}
    write_run(tmp_path, seed=0, **study)
    write_run(tmp_path, seed=1, **study, gflow_beta=8.0)
    settings = read_settings(tmp_path, axis="objective", profile="tiny_cpu").sort_values("seed")
    assert settings["objective"].tolist() == ["vargrad", "gflowrl"]
    rows = {"gflowrl": {"objective": "gflowrl", "beta": 1.0}, "other": {"lora_r": 3}}
    (said,) = departures._unlike_file(settings, rows, {})
    assert said.startswith("1 of 2 runs of gflowrl have objective vargrad, not gflowrl as the axis sets it there; ")


def test_a_former_name_of_a_reward_is_no_other_setting(root, out):
    for path in root.rglob("config.json"):
        edit(path, rewards="verdict=1.0 format=0.0" if path.parent.name == "seed3" else "correct=1.0 format=0.0")
    assert compared(root, out)[1] == []


def test_where_a_run_lies_and_a_parameter_that_older_runs_do_not_have_are_no_departure(root, out):
    edit(root / PLACE / "local_norms/broad/seed3/config.json", run_root="elsewhere", new_parameter=1)
    for seed in (0, 1):  # the others never
        edit(root / PLACE / f"local_norms/narrow/seed{seed}/config.json", eval_every=20 - seed)
    assert compared(root, out)[1] == []


# --- runs that are made again ---


def test_runs_that_are_deleted_and_made_again_under_a_softer_plan(root, kept, out, monkeypatch):
    compared(root, out)
    shutil.rmtree(root)
    shutil.copytree(kept, root)
    changed = use_plan(monkeypatch, margin=0.3)
    for path in root.rglob("manifest.json"):
        edit(path, plan=changed.digest)
    for _ in range(2):  # nor the second time, when the tables are the exploratory ones
        claims, notes = compared(root, out)
        assert set(claims["status"]) == {"exploratory"}
        assert notes == [f"The first comparison was made under plan {PLAN.digest}, this one is {changed.digest}."]


def test_tables_that_came_without_a_record_tell_the_plan_and_the_conditions_of_their_first_comparison(root, out):
    compared(root, out)
    record = out / "first_plan_tiny_cpu.json"
    assert json.loads(record.read_text())["conditions"] == ["narrow", "medium", "broad"]
    record.unlink()
    (root / PLACE / "first_plan.json").unlink()
    expected = [{"digest": PLAN.digest, "conditions": ["broad", "medium", "narrow"]}]
    assert departures.first_comparisons(root / PLACE, out) == expected
    assert departures.first_comparisons(root / "inputs/colab_t4", out) == [], "another profile is another study"


def test_a_comparison_that_was_refused_is_no_first_comparison(root, out):
    shutil.rmtree(root / PLACE / "local_norms/broad/seed3")
    with pytest.raises(ValueError, match=r"lacks the seeds \[3\]"):
        compared(root, out)
    assert not (root / PLACE / "first_plan.json").exists() and not out.exists()


def test_an_axis_without_a_plan_is_told_so_in_one_sentence(root, out, monkeypatch):
    explored = plan.Plan(axis="inputs", question="exploratory", worlds=plan.ANY, baseline="narrow")
    monkeypatch.setattr(plan, "choose_plan", lambda *given: explored)
    monkeypatch.setattr(plan, "plan_digest", lambda axis: "")
    assert compared(root, out)[1] == ["Axis inputs has no analysis plan: every claim is exploratory."]
