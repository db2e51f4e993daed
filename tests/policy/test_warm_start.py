"""Warm start of a model that follows instructions: it learns the form, in many wordings, and nothing of the answers."""

import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from hub_models import hub_model, opening
from transformers import AutoModelForCausalLM, AutoTokenizer

from studylib.evaluation.diversity import distinct_n, words
from studylib.policy import instructed_start
from studylib.policy.models import load_policy
from studylib.policy.supervised import Pair, Recipe, response_loss, supervised
from studylib.policy.warm_start import start, start_key, warm_start, warm_start_key, warm_started
from studylib.scenarios.demonstrations import QUESTIONS, WORDINGS, demonstrations, told_facts
from studylib.scenarios.facts import facts_of
from studylib.scenarios.prompts import chat
from studylib.scenarios.selection import select
from studylib.scenarios.worlds import story_key
from studylib.text.answers import parse, read_answer
from studylib.text.tokens import left_to_write, opened, prompt_tokens

REVISION = "0" * 40
SAID = demonstrations(400, 0)


@pytest.fixture
def hub(tmp_path, miniature):
    """A miniature run of an untrained model of one's own, with a warm start of two steps."""
    name = hub_model(tmp_path / "hub")
    return lambda **given: miniature(**{"model": name, "revision": REVISION, **given})


# --- demonstrations ---


def test_every_demonstration_is_well_formed_and_gives_an_option_of_its_scenario():
    assert len(SAID) == 400
    assert all(read_answer(response, row["options"]) is not None for row, response in SAID)


def test_what_is_asked_says_nothing_of_what_is_answered():
    """Exactly: every prompt comes as often with one of its options as with the other."""
    counts = Counter((row["prompt"], read_answer(response, row["options"])) for row, response in SAID)
    for row, _ in SAID:
        assert {counts[row["prompt"], option] for option in row["options"]} == {1}
    options = Counter(tuple(row["options"]) for row, _ in SAID)
    assert options["permissible", "wrong"] == 200 and len(options) == 1 + len({q.options for q in QUESTIONS})


def test_a_batch_is_as_undecided_as_the_whole():
    """Both answers to a scenario follow one another, in either order."""
    firsts = []
    for (row, one), (again, other) in zip(SAID[::2], SAID[1::2], strict=True):
        given = [read_answer(response, row["options"]) for response in (one, other)]
        assert row is again and set(given) == set(row["options"])
        firsts.append(row["options"].index(given[0]))
    assert abs(sum(firsts) - 100) < 30, "four standard errors of 200 coins are 28"


def test_an_answer_does_not_follow_from_its_reasons():
    """The option is no part of the wording, and both options come after like reasons."""
    by_option: dict[str, list[set]] = {}
    for row, response in SAID:
        reasons, answer = parse(response)
        if row["options"] == ["permissible", "wrong"]:
            assert not re.search("permissible|wrong", reasons)
            by_option.setdefault(answer, []).append(
                {f for f in told_facts(facts_of(row), row["framework"]) if f.lower() in reasons.lower()}
            )
    shares = [sum(map(len, told)) / len(told) for told in by_option.values()]
    assert shares[0] == pytest.approx(shares[1], abs=0.3), "facts named in the reasons"


def test_reasons_are_true_of_the_text():
    for row, response in SAID:
        named = [f for f in told_facts(facts_of(row), row["framework"]) if f.lower() in parse(response)[0].lower()]
        assert named
        # minutes and news put the role between the agent and the deed
        assert all(f.lower() in row["prompt"].lower() for f in named if not f.endswith(facts_of(row).deed))


def test_wordings_vary():
    texts = [response for _, response in SAID]
    assert len(set(texts)) > 0.97 * len(texts)
    reasons = [words(text) for text in texts]
    assert distinct_n(reasons, 1, 2000) > 0.1 and distinct_n(reasons, 2, 2000) > 0.3
    assert all(w.format("x", "X") for w in WORDINGS)


def test_no_demonstration_is_a_scenario_of_training_or_evaluation(miniature):
    told = {story_key(facts_of(row), row["framework"]) for row, _ in SAID}
    for source in ("local_norms", "universal_norms"):
        splits = select(miniature(source=source, steps=40)).values()
        assert not told & {story_key(facts_of(row), row["framework"]) for rows in splits for row in rows}


# --- what the model sees ---


@pytest.mark.parametrize(
    "begun, left",
    [("", "<think>So.</think><answer>yes</answer>"), ("<think>\n", "So.</think><answer>yes</answer>"),
     ("<think>\n\n</think>\n\n", "<answer>yes</answer>"), ("<think></think><answer>", "yes</answer>")],
)  # fmt: skip
def test_a_tag_that_the_prompt_opened_is_not_written_again(tmp_path, begun, left):
    assert left_to_write("<think>So.</think><answer>yes</answer>", begun) == left
    tokenizer = AutoTokenizer.from_pretrained(hub_model(tmp_path, opening(begun)))
    row, response = SAID[0]
    pair = instructed_start.encoded(tokenizer, [(row, response)])[0]
    assert pair.prompt == prompt_tokens(tokenizer, [chat(row, instruct=True)])[0], "as a run asks"
    assert pair.response[-1] == tokenizer.eos_token_id
    written = tokenizer.decode(pair.response[:-1])
    assert written == left_to_write(response, opened(tokenizer, pair.prompt)) and response.endswith(written)


# --- training ---


@pytest.fixture
def model(tmp_path):
    return AutoModelForCausalLM.from_pretrained(hub_model(tmp_path / "hub"))


PAIRS = [Pair([5, 6, 7], [8, 9]), Pair([5], [10, 11, 12]), Pair([6, 6, 9, 12, 8], [7]), Pair([30, 31], [5, 5, 5, 5])]


def test_the_loss_is_that_of_each_response_alone(model):
    """Truth: one pass per demonstration, without padding."""
    nll = 0.0
    for prompt, response in PAIRS:
        logps = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        nll -= sum(logps[len(prompt) + i - 1, token] for i, token in enumerate(response))
    tokens = sum(len(pair.response) for pair in PAIRS)
    assert response_loss(model, PAIRS, pad=0).item() == pytest.approx(nll.item() / tokens, rel=1e-5)


@pytest.mark.parametrize("rows", [1, 3])
def test_how_many_rows_a_pass_has_changes_no_loss_and_no_gradient(tmp_path, rows):
    def trained(rows_per_pass):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "hub").train()
        losses = supervised(model, PAIRS * 2, 0, Recipe(4, rows_per_pass, 1e-3, 1))
        return losses, model.lm_head.weight

    hub_model(tmp_path / "hub")
    (whole, weight), (parts, other) = trained(4), trained(rows)
    assert len(whole) == 2 and parts == pytest.approx(whole, rel=1e-5)
    assert torch.allclose(weight, other, atol=1e-4)


def test_the_warm_start_is_a_model_like_any_other_that_knows_more_of_the_form(hub):
    """On demonstrations that it has not seen; the rest of the run finds no adapter and no quantisation."""
    params = hub(warm_start_steps=12)
    folder, revision = start(params)
    assert revision is None and Path(folder) == warm_start(params)
    assert (Path(folder) / "model.safetensors").is_file() and not (Path(folder) / "adapter_config.json").exists()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    unseen = instructed_start.encoded(tokenizer, demonstrations(16, 7))
    before, after = (
        response_loss(AutoModelForCausalLM.from_pretrained(name), unseen, tokenizer.pad_token_id).item()
        for name in (params.model, folder)
    )
    assert after < 0.95 * before and math.isfinite(after)
    policy, _ = load_policy(params)
    assert policy.config.quantization_config.load_in_4bit


def test_norms_are_trained_last_with_the_rest_as_a_run_quantises_it(hub, monkeypatch, tmp_path):
    """Rounding to 4 bits moves a model, and a run keeps its norms as they are."""
    params, seen = hub(warm_start_steps=4), []
    settled = instructed_start._settled

    def watched(*given):
        seen.append(AutoModelForCausalLM.from_pretrained(given[1]).state_dict())
        return settled(*given)

    monkeypatch.setattr(instructed_start, "_settled", watched)
    (tmp_path / "built").mkdir()
    instructed_start.build(params, tmp_path / "built")
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "built").state_dict()
    moved = {name for name, weight in after.items() if not torch.equal(weight, seen[0][name])}
    assert moved and moved == {name for name in after if "norm" in name}


def test_without_a_warm_start_a_run_starts_from_the_model_as_it_is_published(hub):
    params = hub(warm_start_steps=0)
    assert start(params) == (params.model, REVISION) and start_key(params) == [params.model, REVISION]


def test_where_answers_are_open_there_is_no_form_to_teach(hub):
    assert not warm_started(hub(source="morebench_public", rewards="rubric=1"))


def test_a_model_that_cannot_be_asked_is_refused_before_it_is_trained(tmp_path, miniature, monkeypatch):
    monkeypatch.setattr(instructed_start, "supervised", lambda *args: pytest.fail("trained"))
    params = miniature(model=hub_model(tmp_path / "hub", template=None), revision=REVISION)
    with pytest.raises(ValueError, match="has no chat template"):
        load_policy(params)


# --- one for all ---


@pytest.mark.parametrize(
    "given", [{"condition": "narrow"}, {"seed": 3}, {"source": "universal_norms"}, {"source": "ethics_justice"},
              {"frameworks": "virtue_ethics"}, {"lora_r": 4}, {"learning_rate": 1e-5}, {"objective": "rloo"}], ids=str,
)  # fmt: skip
def test_conditions_seeds_and_sources_start_alike(hub, given):
    if given.get("source") == "ethics_justice":
        given = given | {"n_domains": 12, "n_styles": 4}
    assert warm_start_key(hub(**given)) == warm_start_key(hub())


def test_what_it_depends_on_makes_another_warm_start(hub, monkeypatch):
    keys = {warm_start_key(hub()), warm_start_key(hub(warm_start_steps=3)), warm_start_key(hub(revision="1" * 40))}
    (Path(hub().model) / "config.json").write_text("{}")  # another content
    keys.add(warm_start_key(hub()))
    monkeypatch.setattr(torch, "__version__", "9.9")
    keys.add(warm_start_key(hub()))
    assert len(keys) == 5


def test_two_processes_that_make_it_at_once_give_one_folder(hub, monkeypatch, tmp_path):
    """The second one finds the folder of the first when it is done, and takes that."""
    monkeypatch.setattr("studylib.paths.CACHE", tmp_path / "cache")
    built, build = [], instructed_start.build

    def while_another_builds(params, folder):
        built.append(folder)
        if len(built) == 1:
            warm_start(params)
        build(params, folder)

    monkeypatch.setattr(instructed_start, "build", while_another_builds)
    folder = warm_start(hub())
    assert len(built) == 2 and [path.name for path in (tmp_path / "cache/warm_start").iterdir()] == [folder.name]
    load_policy(hub())
