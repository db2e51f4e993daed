"""Traces of roles: what is sampled, kept, merged and cut, from a policy whose every word is known; and their stage."""

import dataclasses
import json
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from training_runs import adapter, start

from studylib.claims.stage import stage_table
from studylib.names import SOURCES, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.paths import cached
from studylib.policy.tiny import tiny_tokenizer
from studylib.randomness import generator
from studylib.runs.folder import write_json, write_manifest
from studylib.scenarios import council
from studylib.scenarios.facts import OPTIONS, facts_of
from studylib.scenarios.roles import named, parts
from studylib.text.answers import parse
from studylib.training import role_stage
from studylib.training.traces import Policy, Said, agreement, budgeted, kept, merges, proposals, sampled_traces
from studylib.training.train import train

ROWS = council.make_split("train", 16, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, council="own")
BY_PROMPT = {row["prompt"]: row for row in ROWS}
DEMONSTRATIONS = council.demonstrations(400, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES)
TOKENIZER = tiny_tokenizer(f"{prompt} {response}" for prompt, response in DEMONSTRATIONS)
END = TOKENIZER.eos_token_id


def params(**given) -> RunParams:
    return RunParams(**{"source": "council_norms", "traces": "multi_role", "max_new_tokens": 120, **given})


class Scripted:
    """A policy that goes on from a role's opening as `says` (scenario, role, number of the answer) has it."""

    def __init__(self, says):
        self.says, self.asked = says, []

    def __call__(self, prompts, keys):
        answers = []
        for prompt, (*_, role, k) in zip(prompts, keys, strict=True):
            text = TOKENIZER.decode(prompt)
            asked, _, begun = text.partition("<|assistant|>")
            assert begun.startswith("<think>I need to think from") and begun.endswith("perspective.")
            self.asked.append((role, k))
            answers.append([*TOKENIZER(self.says(_row_of(asked), role, k))["input_ids"], END])
        return answers

    @property
    def policy(self) -> Policy:
        return Policy(TOKENIZER, (END,), self)


def _row_of(asked: str) -> dict:
    return BY_PROMPT[asked.removeprefix("<|user|>").strip()]


def rightly(row: dict, role: str, k: int) -> str:
    """What the role finds, from its own fact alone."""
    framework, facts = council.TAKES[role], facts_of(row)
    option = council.finding(facts, framework)
    own = council.trace(role, facts, framework, option).partition("perspective.")[2]
    return f"{own}</think><answer>{option}</answer>"


def unsure(row: dict, role: str, k: int) -> str:
    """The same, but every third answer is the other one."""
    said = rightly(row, role, k)
    right = said.partition("<answer>")[2].removesuffix("</answer>")
    return said.replace(right, OPTIONS[1 - OPTIONS.index(right)]) if k % 3 == 2 else said


def offer(monkeypatch, roles) -> None:
    """The world offers other roles."""
    record = dataclasses.replace(SOURCES["council_norms"], roles=roles)
    monkeypatch.setitem(SOURCES._records, "council_norms", record)


# --- the filter ---


def test_the_filter_keeps_the_majority_of_a_role_and_the_reasons_that_lead_to_it():
    said = [
        Said("a", "wrong"),
        Said("b", "permissible"),
        Said("c", "wrong"),
        Said(None, "permissible"),
        Said("e", None),
    ]
    assert kept(said, generator(0, "test")) == ("wrong", ["a", "c"])
    assert kept([Said(None, "wrong")] * 3, generator(0, "test")) == (None, []), "another role spoke in them"
    ties = {kept([Said("a", "wrong"), Said("b", "permissible")], generator(0, "test", i))[0] for i in range(20)}
    assert ties == {"wrong", "permissible"}


def test_a_role_agrees_with_itself_as_often_as_its_most_frequent_answer_comes():
    assert agreement(["a", "a"]) == 1.0 and agreement(["a", "b"]) == 0.5
    assert agreement(["a", None]) == 0.5 and agreement([None, None]) == 0.0


def test_traces_do_not_depend_on_any_right_answer():
    turned = [row | {"answer": OPTIONS[1 - OPTIONS.index(row["answer"])], "accepted": None} for row in ROWS]
    for kind in ("multi_role", "single_role", "format_only"):
        asked = params(traces=kind)
        assert sampled_traces(ROWS, asked, Scripted(unsure).policy) == sampled_traces(
            turned, asked, Scripted(unsure).policy
        )


def test_a_policy_that_errs_every_third_time_is_filtered_to_one_that_does_not():
    for trace in sampled_traces(ROWS, params(), Scripted(unsure).policy):
        row = next(row for row in ROWS if row["id"] == trace.scenario)
        facts = facts_of(row)
        for role, part in zip(named(parse(trace.response)[0]), parts(parse(trace.response)[0]), strict=True):
            assert part.endswith(f"so {council.finding(facts, council.TAKES[role])}.")


# --- what is merged ---


def test_several_roles_speak_once_each_about_three_facts_and_most_of_them_decide():
    traces = sampled_traces(ROWS, params(role_diversity=100.0), Scripted(rightly).policy)
    assert Counter(trace.scenario for trace in traces) == dict.fromkeys((row["id"] for row in ROWS), 2)
    right = {row["id"]: row["answer"] for row in ROWS}
    for trace in traces:
        reasons, answer = parse(trace.response)
        assert trace.roles.split("; ") == named(reasons) and len({council.TAKES[role] for role in named(reasons)}) == 3
        assert answer == trace.answer == right[trace.scenario], "without ever having seen it"


def test_one_role_alone_is_right_in_three_of_four_and_speaks_once_or_three_times():
    for kind, times in (("single_role", 1), ("format_only", 3)):
        traces = sampled_traces(ROWS, params(traces=kind), Scripted(rightly).policy)
        for trace in traces:
            row = next(row for row in ROWS if row["id"] == trace.scenario)
            reasons, answer = parse(trace.response)
            assert len(named(reasons)) == times and len(set(named(reasons))) == 1
            assert answer == council.finding(facts_of(row), council.TAKES[named(reasons)[0]])
        assert len({trace.scenario for trace in traces}) == len(ROWS)


def test_the_order_of_roles_is_random_by_scenario_and_seed_and_the_same_in_a_second_run():
    first, again, other = (
        [trace.roles for trace in sampled_traces(ROWS, params(seed=seed), Scripted(rightly).policy)]
        for seed in (0, 0, 1)
    )
    assert first == again != other
    by_role = [(name, "wrong", [name]) for name in ("a", "b", "c")]
    orders = Counter(tuple(merges(by_role, params(), generator(0, "test", i))[0][0]) for i in range(600))
    assert len(orders) == 6 and min(orders.values()) > 60


def test_a_divergent_trace_answers_as_the_role_that_speaks_last():
    by_role = [("a", "wrong", ["x"]), ("b", "wrong", ["y"]), ("c", "permissible", ["z"])]
    for i in range(20):
        roles, answer, _ = merges(by_role, params(merge="divergent"), generator(0, "test", i))[0]
        assert answer == {"a": "wrong", "b": "wrong", "c": "permissible"}[roles[-1]]
        assert merges(by_role, params(), generator(0, "test", i))[0][1] == "wrong"


def test_a_scenario_of_which_a_role_says_nothing_readable_has_no_traces_and_neither_has_one_with_too_few_roles(
    monkeypatch,
):
    def silent(row, role, k):
        return "." if row is ROWS[0] else rightly(row, role, k)

    traces = sampled_traces(ROWS, params(), Scripted(silent).policy)
    assert {trace.scenario for trace in traces} == {row["id"] for row in ROWS[1:]}
    assert sampled_traces(ROWS, params(max_new_tokens=8), Scripted(rightly).policy) == [], "longer than an answer"
    offer(monkeypatch, lambda row: council.roles(row)[: 2 if row is ROWS[0] else None])
    traces = sampled_traces(ROWS, params(), Scripted(rightly).policy)
    assert {trace.scenario for trace in traces} == {row["id"] for row in ROWS[1:]}


# --- budgets ---


def test_all_conditions_sample_as_many_answers():
    asked = {}
    for kind in ("multi_role", "single_role", "format_only"):
        script = Scripted(rightly)
        sampled_traces(ROWS, params(traces=kind), script.policy)
        asked[kind] = len(script.asked)
    scouted = sum(2 * len(council.roles(row)) for row in ROWS)
    assert set(asked.values()) == {scouted + 3 * 5 * len(ROWS)}


@pytest.mark.parametrize("seed", range(5))
def test_one_role_and_several_are_trained_on_equal_tokens_within_one_trace_in_every_seed(seed):
    tokens = {}
    for kind in ("multi_role", "single_role", "format_only"):
        traces = sampled_traces(ROWS, params(traces=kind, seed=seed), Scripted(unsure).policy)
        taken = budgeted(traces, 6000, seed)
        tokens[kind] = sum(len(trace.tokens) for trace in taken)
        assert 0 <= tokens[kind] - 6000 < max(len(trace.tokens) for trace in traces)
        once = Counter(trace.response for trace in taken)
        assert set(once) == {trace.response for trace in traces}, "all of them before any comes again"
    longest = 100
    assert max(tokens.values()) - min(tokens.values()) < longest


def test_traces_are_gone_through_in_another_order_each_time():
    traces = sampled_traces(ROWS, params(), Scripted(rightly).policy)
    whole = sum(len(trace.tokens) for trace in traces)
    taken = [trace.response for trace in budgeted(traces, 2 * whole, 0)]
    assert (
        Counter(taken[: len(traces)]) == Counter(taken[len(traces) :]) and taken[: len(traces)] != taken[len(traces) :]
    )
    assert budgeted([], 10, 0) == []


# --- a model that proposes ---


def hub(replies: list[str]) -> Policy:
    turn = iter(replies)
    return Policy(
        TOKENIZER, (END,), lambda prompts, keys: [[*TOKENIZER(next(turn))["input_ids"], END] for _ in prompts]
    )


PUBLISHED = {"source": "ethics_justice", "model": "some/model", "revision": "0" * 40}


def test_an_instruct_model_is_asked_for_the_roles_of_published_questions_and_read_strictly():
    rows = [{"id": str(i), "prompt": "Is it reasonable?", "options": ["reasonable", "unreasonable"]} for i in range(3)]
    good = "- a nurse: the patients\n- a judge: the law"
    found = proposals(rows, params(**PUBLISHED), hub([good, "I will not.", f"<think>Well.</think>{good}"]))
    assert [[role.name for role in roles] for roles in found] == [["a nurse", "a judge"], [], ["a nurse", "a judge"]]


def test_a_model_that_proposes_nothing_usable_is_refused_in_one_sentence():
    rows = [{"id": "1", "prompt": "Is it reasonable?", "options": ["reasonable", "unreasonable"]}]
    with pytest.raises(ValueError, match="model 'some/model' has no roles for any of 1 scenarios, .* 'I will not.'"):
        proposals(rows, params(**PUBLISHED), hub(["I will not."]))


def test_a_world_that_offers_too_few_roles_is_refused_in_one_sentence(monkeypatch):
    offer(monkeypatch, lambda row: council.roles(row)[:1])
    with pytest.raises(ValueError, match="source 'council_norms' has no roles for any of 16 scenarios"):
        proposals(ROWS, params(), Scripted(rightly).policy)


# --- the stage of a run ---


@pytest.fixture
def staged(miniature, monkeypatch):
    """Parameters of a miniature run with a stage, in which the untrained policy says what roles find."""

    def rollout(model, prompts, keys, *args, **more):
        tokenizer = staged.tokenizer
        return [[*tokenizer(" It is so, so wrong.</think><answer>wrong</answer>")["input_ids"], tokenizer.eos_token_id]
                for _ in prompts]  # fmt: skip

    monkeypatch.setattr(role_stage, "rollout", rollout)

    def make(**given):
        asked = {"source": "council_norms", "traces": "multi_role", "trace_scenarios": 4, "trace_tokens": 2500,
                 "max_new_tokens": 200, "eval_every": 0, "condition": "broad", **given}  # fmt: skip
        run = miniature(**asked)
        trainer = start(run)
        staged.tokenizer = trainer.processing_class
        return run, trainer

    staged.tokenizer = None
    return make


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_stage_moves_the_adapter_writes_what_it_took_and_leaves_a_run_without_it_alone(staged):
    run, trainer = staged(steps=0)
    fresh = adapter(trainer)
    train(trainer, run)
    assert not same(adapter(trainer), fresh)
    facts = json.loads((run.run_dir / "traces.json").read_text())
    assert facts["roles_per_trace"] == 3 and facts["scenarios_with_traces"] == 4 and facts["generated_tokens"] > 0
    assert 2500 <= facts["supervised_tokens"] < 2700 and facts["loss_last"] < facts["loss_first"]
    plain, trainer = staged(steps=0, traces="none", seed=1)
    train(trainer, plain)
    assert not (plain.run_dir / "traces.json").exists()


def test_a_run_that_was_cut_in_the_stage_ends_with_the_same_adapter(staged, monkeypatch, tmp_path):
    straight, trainer = staged(steps=2, run_root=str(tmp_path / "straight"), learning_rate=0.01)
    train(trainer, straight)
    expected = adapter(trainer)
    supervised = role_stage.supervised

    def killed(model, pairs, *args):
        supervised(model, pairs[: len(pairs) // 2], *args)
        raise KeyboardInterrupt

    another_cache(monkeypatch, tmp_path / "another")
    cut, trainer = staged(steps=2, run_root=str(tmp_path / "cut"), learning_rate=0.01)
    monkeypatch.setattr(role_stage, "supervised", killed)
    with pytest.raises(KeyboardInterrupt):
        train(trainer, cut)
    assert not (cut.run_dir / "traces.json").exists() and not list((tmp_path / "another" / "traces").iterdir())
    monkeypatch.setattr(role_stage, "supervised", supervised)
    again, trainer = staged(steps=2, run_root=str(tmp_path / "cut"), learning_rate=0.01)
    train(trainer, again)
    assert same(adapter(trainer), expected)


def another_cache(monkeypatch, folder) -> None:
    """Stages are kept elsewhere from now on, and what runs start from is not."""
    monkeypatch.setattr(role_stage, "cached", lambda kind, key, build: paths_cached(folder, kind, key, build))


def paths_cached(folder, kind, key, build):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studylib.paths.CACHE", folder)
        return cached(kind, key, build)


def test_a_run_that_was_cut_after_the_stage_goes_on_from_its_adapter(staged, monkeypatch):
    run, trainer = staged(steps=2, learning_rate=0.01)
    train(trainer, run)
    expected = adapter(trainer)
    shutil.rmtree(run.run_dir / "checkpoints")
    shutil.rmtree(run.run_dir / "adapter")
    monkeypatch.setattr(role_stage, "cached", lambda *args: pytest.fail("made again"))
    run, trainer = staged(steps=2, learning_rate=0.01)
    train(trainer, run)
    assert same(adapter(trainer), expected)


def test_conditions_that_differ_in_what_comes_after_the_stage_share_it_and_others_do_not(staged, monkeypatch):
    run, trainer = staged(steps=0, seed=3)
    train(trainer, run)
    expected, facts = adapter(trainer), role_stage.stage_facts(run.run_dir)
    shutil.rmtree(run.run_dir)
    monkeypatch.setattr(role_stage, "_make", lambda *args: pytest.fail("made again"))
    same_inputs = {"condition": "narrow", "n_domains": 12, "n_styles": 4}
    for after in ({"rewards": "correct=0.9 diversity=0.1", "diversity_gate": "form"}, same_inputs):
        other, trainer = staged(**{"steps": 0, "seed": 3, **after})
        train(trainer, other)
        assert same(adapter(trainer), expected) and role_stage.stage_facts(other.run_dir) == facts
        shutil.rmtree(other.run_dir)
    for apart in ({"seed": 4}, {"traces": "format_only"}, {"merge": "divergent"}, {"trace_tokens": 3000}, {"lora_r": 8},
                  {"council": "same"}, {"n_domains": 6}, {"temperature": 0.5}):  # fmt: skip
        other, trainer = staged(**{"steps": 0, "seed": 3, **apart})
        with pytest.raises(pytest.fail.Exception, match="made again"):
            train(trainer, other)


def test_a_policy_that_says_nothing_readable_from_any_role_is_refused_in_one_sentence(staged, monkeypatch):
    run, trainer = staged(steps=0, seed=7)
    monkeypatch.setattr(
        role_stage, "rollout", lambda model, prompts, *args: [[trainer.processing_class.eos_token_id]] * len(prompts)
    )
    with pytest.raises(
        ValueError, match="no trace of 4 scenarios could be kept: from a role the policy gives no readable"
    ):
        train(trainer, run)


def test_the_table_of_the_stage_counts_all_tokens_and_how_many_traces_are_right(staged, tmp_path):
    for kind in ("multi_role", "single_role", "none"):
        run, trainer = staged(
            steps=2, traces=kind, condition={"none": "medium", "single_role": "narrow"}.get(kind, "broad")
        )
        write_json(run.run_dir / "config.json", run.as_dict())
        train(trainer, run)
        write_manifest(run.run_dir, {}, 0.0)
    table = stage_table(tmp_path / "runs", "inputs", "tiny_cpu").set_index("condition")
    assert (table["tokens"] == table["tokens_for_traces"] + table["tokens_for_rewards"]).all()
    assert table.loc["medium", "tokens_for_traces"] == 0 and (table["tokens_for_rewards"] > 0).all()
    assert table.loc["broad", "right"] == 0.5 == table.loc["narrow", "right"], "all say wrong, which half of them are"
    assert np.isnan(table.loc["medium", "right"]) and table.loc["broad", "traces"] == 8
    assert abs(table.loc["broad", "supervised_tokens"] - table.loc["narrow", "supervised_tokens"]) < 200
