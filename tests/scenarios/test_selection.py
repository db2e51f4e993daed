"""Which scenarios a run trains on and is evaluated on."""

from collections import Counter

import pytest

from studylib.names import HELD_OUT_STYLES, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.scenarios import selection
from studylib.scenarios.selection import choose_inputs, select
from studylib.scenarios.sources.records import others
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
    return run(axis="real", condition="grpo", source="ethics_justice", data_dir=str(folder))


def test_real_rows_come_again_only_after_all_have_come(tmp_path):
    splits = select(write_justice(tmp_path))
    assert len(splits["train"]) == run().train_prompts
    assert {row["id"] for row in splits["train"][:2]} == {row["id"] for row in splits["train"][2:4]}
    assert len({row["id"] for row in splits["train"][:2]}) == 2


def test_a_small_source_is_evaluated_on_every_scenario_once(tmp_path):
    assert len(select(write_justice(tmp_path))["held_out"]) == 1 < run().eval_scenarios


# --- training on other published sources ---


HEADERS = {"justice": "label,scenario", "deontology": "label,scenario,excuse", "virtue": "label,scenario"}


def write_parts(folder):
    """Four parts of ETHICS, ten rows a split."""
    (folder / "ethics").mkdir()
    for part in ("justice", "deontology", "virtue", "utilitarianism"):
        for split in ("train", "test"):
            told = [f"{i % 2},{part} {split} {i} [SEP] kind" + ",so" * (part == "deontology") for i in range(10)]
            pairs = [f"Better {split} {i}.,Worse {split} {i}." for i in range(10)]
            lines = [HEADERS[part], *told] if part in HEADERS else pairs
            (folder / "ethics" / f"{part}_{split}.csv").write_text("\n".join(lines) + "\n")
    return str(folder)


def transfer(folder, n, **given):
    return run(axis="real", condition="grpo", source="ethics_justice", data_dir=folder, train_sources=n, **given)


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """`contrastive_moral_stories` is not written, so the pool is ETHICS alone."""
    known = ["ethics_deontology", "ethics_virtue", "ethics_utilitarianism"]
    monkeypatch.setattr(selection, "others", lambda name: [source for source in known if source != name])
    return write_parts(tmp_path)


def test_other_sources_are_trained_on_in_equal_shares_and_never_the_one_that_is_evaluated(parts):
    for n in (1, 2, 3):
        params = transfer(parts, n)
        splits = select(params)
        counts = Counter(row["source"] for row in splits["train"])
        assert set(counts) == set(selection.train_sources(params)) and len(counts) == n
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len(splits["train"]) == params.train_prompts, "the budget is the same however many sources"
        assert {row["source"] for row in splits["held_out"]} == {"ethics_justice"}
    prompts = params.answers_per_step // params.generations
    assert {row["source"] for row in splits["train"][:prompts]} == set(counts), "each step has some of each"


def test_sources_are_nested_in_a_seed_and_differ_between_seeds(parts):
    chosen = [[selection.train_sources(transfer(parts, n, seed=seed)) for n in (1, 2, 3)] for seed in range(6)]
    for one, two, three in chosen:
        assert set(one) < set(two) < set(three)
    assert len({one for one, *_ in chosen}) > 1


def test_without_the_option_a_source_trains_on_its_own_rows(parts):
    assert {row["source"] for row in select(transfer(parts, 0))["train"]} == {"ethics_justice"}


TOO_MANY = [(9, "ethics_justice"), (-1, "ethics_virtue"), (1, "local_norms"), (1, "morebench_public")]


@pytest.mark.parametrize("n, source", TOO_MANY)
def test_more_sources_than_there_are_are_refused_and_so_are_any_for_a_world(n, source):
    with pytest.raises(ValueError, match="parameter train_sources = .* is not allowed"):
        run(axis="real", condition="grpo", source=source, train_sources=n)


def test_the_pool_is_every_other_published_source_with_answers_to_train_on():
    ethics = {f"ethics_{part}" for part in ("justice", "deontology", "virtue", "utilitarianism")}
    assert set(others("moralchoice")) == ethics | {"contrastive_moral_stories"}
    assert set(others("ethics_virtue")) == ethics - {"ethics_virtue"} | {"contrastive_moral_stories"}


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="empty"):
        select(write_justice(tmp_path, train="label,scenario\n"))


def test_a_missing_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="scenario"):
        select(write_justice(tmp_path, train="label,text\n1,I rest.\n"))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        select(run(axis="real", condition="grpo", source="ethics_justice", data_dir=str(tmp_path / "nowhere")))


def test_every_step_of_a_model_that_takes_instructions_has_as_many_of_one_right_answer_as_of_the_other():
    """So that no step teaches an answer whatever is asked; the tiny model's order is that of its committed studies."""
    common = {"profile": "smollm2_cpu", "axis": "inputs_smollm2"}
    for given in ({"condition": "narrow"}, {"condition": "broad", "source": "universal_norms", "seed": 3}):
        params = run(**common, **given)
        rows, n = select(params)["train"], params.answers_per_step // params.generations
        steps = [Counter(row["answer"] for row in rows[i : i + n]) for i in range(0, len(rows), n)]
        assert all(set(counts.values()) == {n // 2} for counts in steps)
        assert [row["answer"] for row in select(run())["train"]][:4] != ["permissible", "wrong"] * 2


def test_spread_keeps_all_rows_and_gives_every_stretch_its_share_of_each_source_and_answer():
    rows = [{"id": i, "source": "ab"[i % 2], "answer": "yes" if i % 12 < 8 else "no"} for i in range(96)]
    found = selection.spread(rows)
    assert sorted(row["id"] for row in found) == list(range(96)) and found == selection.spread(rows)
    for start in range(0, 96, 12):
        counts = Counter((row["source"], row["answer"]) for row in found[start : start + 12])
        assert counts == {("a", "yes"): 4, ("b", "yes"): 4, ("a", "no"): 2, ("b", "no"): 2}
    assert selection.spread([]) == []
    of_one = [{"id": i, "source": "a", "answer": None, "accepted": {"x": 1.0}} for i in range(3)]
    assert selection.spread(of_one) == of_one
