"""Which scenarios a run trains on and is evaluated on."""

import pytest

from studylib.names import HELD_OUT_STYLES, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.scenarios.selection import choose_inputs, select
from studylib.scenarios.vocabulary import DOMAINS, HELD_OUT_DOMAINS


def run(**given):
    return RunParams.resolve({"steps": 10, "eval_scenarios": 20, **given})


def test_inputs_are_nested_in_every_seed():
    for seed in range(5):
        narrow, medium, broad = (choose_inputs(run(condition=c, seed=seed)) for c in ("narrow", "medium", "broad"))
        assert set(narrow.domains) < set(medium.domains) < set(broad.domains) == set(TRAIN_DOMAINS)
        assert set(narrow.styles) < set(medium.styles) < set(broad.styles) == set(TRAIN_STYLES)


def test_narrow_training_shows_one_kind_of_community_and_broad_training_both():
    kinds = {
        condition: {DOMAINS[row["domain"]].community for row in select(run(condition=condition))["train"]}
        for condition in ("narrow", "broad")
    }
    assert len(kinds["narrow"]) == 1 and len(kinds["broad"]) == 2


def test_seeds_choose_different_narrow_domains():
    assert len({choose_inputs(run(condition="narrow", seed=seed)).domains for seed in range(5)}) > 1


def test_the_budget_is_matched_and_evaluation_is_the_same_for_all_conditions_and_seeds():
    runs = [select(run(condition=c, seed=s)) for c in ("narrow", "medium", "broad") for s in (0, 1)]
    assert {len(splits["train"]) for splits in runs} == {run().train_prompts}
    for name in ("held_out", "held_out_domains", "held_out_styles"):
        assert len({tuple(row["id"] for row in splits[name]) for splits in runs}) == 1


def test_training_takes_what_the_condition_says_and_no_split_shares_a_scenario():
    params = run(condition="medium", seed=3)
    splits = select(params)
    inputs = choose_inputs(params)
    assert {row["domain"] for row in splits["train"]} == set(inputs.domains)
    assert {row["style"] for row in splits["train"]} == set(inputs.styles)
    assert {row["domain"] for row in splits["held_out_domains"]} == set(HELD_OUT_DOMAINS)
    assert {row["style"] for row in splits["held_out_styles"]} == set(HELD_OUT_STYLES)
    ids = [row["id"] for rows in splits.values() for row in rows]
    assert len(ids) == len(set(ids))
    assert {row["framework"] for row in splits["train"]} == set(params.frameworks.split())


def test_without_steps_there_is_nothing_to_train_on():
    assert select(run(steps=0))["train"] == []


def write_justice(folder, train="label,scenario\n1,I rest because I worked.\n0,I rest because of a cat.\n", test=None):
    (folder / "ethics").mkdir()
    (folder / "ethics" / "justice_train.csv").write_text(train)
    (folder / "ethics" / "justice_test.csv").write_text(test or "label,scenario\n1,I eat because I am hungry.\n")
    return run(axis="real", condition="ethics_justice", data_dir=str(folder))


def test_real_rows_come_again_only_after_all_have_come(tmp_path):
    splits = select(write_justice(tmp_path))
    assert len(splits["train"]) == run().train_prompts
    assert {row["id"] for row in splits["train"][:2]} == {row["id"] for row in splits["train"][2:4]}
    assert len({row["id"] for row in splits["train"][:2]}) == 2


def test_a_small_source_is_evaluated_on_every_scenario_once(tmp_path):
    assert len(select(write_justice(tmp_path))["held_out"]) == 1 < run().eval_scenarios


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="empty"):
        select(write_justice(tmp_path, train="label,scenario\n"))


def test_a_missing_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="scenario"):
        select(write_justice(tmp_path, train="label,text\n1,I rest.\n"))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        select(run(axis="real", condition="ethics_justice", data_dir=str(tmp_path / "nowhere")))
