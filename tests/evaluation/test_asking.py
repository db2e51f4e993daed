"""How an instruct model is asked: five instructions, worked examples, and what they are chosen on."""

import json

import pandas as pd
import pytest
from hub_models import hub_model

from studylib.evaluation import answers
from studylib.evaluation.asking import CHOICE, asking_of, choice
from studylib.params import RunParams
from studylib.rewards.correct import correct, format
from studylib.run import run
from studylib.scenarios.prompts import BEST, INSTRUCTIONS, USUAL, Asking, chat
from studylib.scenarios.selection import CHOOSING, chosen_on, select
from studylib.scenarios.worked import NEUTRAL, worked

INSTRUCT = {"objective": "base", "steps": 0, "model": "some/model", "revision": "x"}
ROW = {"id": "x", "source": "mine", "prompt": "A lie was told.", "options": ["right", "wrong"], "answer": "wrong"}


def evaluation_ids(params) -> set[str]:
    return {row["id"] for name, rows in select(params).items() if name != "train" for row in rows}


# --- what is sent ---


def test_the_five_instructions_ask_for_one_form_and_the_first_is_that_of_every_other_run():
    assert len(set(INSTRUCTIONS)) == 5 and chat(ROW, True)[0]["content"] == INSTRUCTIONS[0]
    for i, text in enumerate(INSTRUCTIONS):
        assert all(tag in text for tag in ("<think>", "</think>", "<answer>", "</answer>")) and "option" in text
        system, user = chat(ROW, True, Asking(i))
        assert system == {"role": "system", "content": text} and user == chat(ROW, True)[1]
    assert chat(ROW, False, Asking(3)) == [{"role": "user", "content": ROW["prompt"]}]
    assert chat(ROW, True, USUAL) == chat(ROW, True)


def test_worked_examples_are_turns_between_the_instruction_and_the_question():
    example = ROW | {"prompt": "The truth was told.", "answer": "right"}
    messages = chat(ROW, True, Asking(0, ((example, worked(example)),)))
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1]["content"] == "The truth was told.\nOptions: right or wrong."
    assert messages[2]["content"] == f"<think>{NEUTRAL}</think><answer>right</answer>"
    assert messages[3] == chat(ROW, True)[1]


@pytest.mark.parametrize("given", [{"source": "local_norms"}, {"source": "universal_norms"},
                                   {"source": "plural_norms", "accepted_stances": 3}])  # fmt: skip
def test_worked_examples_of_worlds_are_right_and_of_the_training_side(given):
    params = RunParams(**INSTRUCT, few_shot=5, eval_scenarios=40, **given)
    examples, rows = chosen_on(params)
    assert len({row["id"] for row in examples}) == 5 and rows == []
    assert {row["split"] for row in examples} == {"train"}
    assert not {row["id"] for row in examples} & evaluation_ids(params)
    for row in examples:
        assert correct(worked(row), row) == format(worked(row), row) == 1.0 and NEUTRAL not in worked(row)


# --- what is chosen ---


def test_the_choice_is_made_on_training_scenarios_that_no_example_shows_and_no_seed_changes():
    params = RunParams(**INSTRUCT, few_shot=3, instruction=BEST)
    examples, rows = chosen_on(params)
    assert (len(examples), len(rows)) == (3, CHOOSING) and {row["split"] for row in rows} == {"train"}
    ids = {row["id"] for row in rows}
    assert len(ids) == CHOOSING and not ids & {row["id"] for row in examples} and not ids & evaluation_ids(params)
    assert chosen_on(RunParams(**INSTRUCT, few_shot=3, instruction=BEST, seed=7)) == (examples, rows)
    assert chosen_on(RunParams(**INSTRUCT)) == ([], [])


def test_the_first_of_the_best_instructions_is_chosen_once_and_kept(tmp_path, capsys):
    params = RunParams(**INSTRUCT, instruction=BEST, run_root=str(tmp_path))
    accuracies, asked = [0.25, 0.5, 0.75, 0.75, 0.0], []

    def accuracy(asking, rows):
        asked.append((asking, len(rows)))
        return accuracies[asking.instruction]

    assert choice(params) is None and asking_of(params, accuracy) == Asking(2)
    assert asked == [(Asking(i), CHOOSING) for i in range(5)]
    said = capsys.readouterr().out
    assert "asked with instruction 2; accuracies on 64 training scenarios: 0: 0.250, 1: 0.500" in said
    assert asking_of(params, lambda *given: pytest.fail("chosen again")) == Asking(2)
    assert choice(params)["accuracies"] == accuracies
    other = RunParams(**INSTRUCT, instruction=BEST, run_root=str(tmp_path), max_new_tokens=9)
    assert choice(other) is None, "the folder of a run with other parameters"


def test_a_run_that_names_its_instruction_chooses_nothing():
    def never(*given):
        pytest.fail("asked")

    assert asking_of(RunParams(), never) == USUAL
    assert asking_of(RunParams(**INSTRUCT, instruction=4), never) == Asking(4)
    assert len(asking_of(RunParams(**INSTRUCT, few_shot=2), never).examples) == 2


# --- what is refused ---


@pytest.mark.parametrize(
    "given, message",
    [
        ({"instruction": -1}, "instruction = -1 is not allowed: .*tiny model, which is not instructed"),
        ({"few_shot": 2}, "few_shot = 2 is not allowed: .*tiny model"),
        (INSTRUCT | {"instruction": 5}, "instruction = 5 is not allowed: -1 for the best, 0..4"),
        (INSTRUCT | {"few_shot": 17}, "few_shot = 17 is not allowed: 0..16"),
        (INSTRUCT | {"few_shot": 2, "source": "morebench_public", "rewards": "rubric=1"}, "answered openly"),
        (INSTRUCT | {"objective": "grpo", "steps": 2, "instruction": 1},
         "instruction = 1 is not allowed: 0, because objective 'grpo' does not read it"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_so_is_refused_before_anything_costs(given, message):
    with pytest.raises(ValueError, match=message):
        RunParams(**{"objective": "base", "steps": 0, **given})


def test_a_source_without_enough_training_answers_is_refused_when_scenarios_are_chosen(monkeypatch):
    rows = [ROW | {"id": str(i), "answer": "wrong" if i < 3 else None} for i in range(9)]
    monkeypatch.setattr("studylib.scenarios.selection.load_source", lambda *given: rows)
    params = RunParams(**INSTRUCT, source="ethics_justice", few_shot=4)
    with pytest.raises(ValueError, match="few_shot = 4, instruction = 0: source 'ethics_justice' has .* training scen"):
        select(params)


# --- runs ---


@pytest.fixture
def asked_run(miniature, tmp_path):
    def make(**given):
        model = hub_model(tmp_path / "model")
        params = miniature(
            objective="base",
            steps=0,
            model=model,
            revision="x",
            warm_start_steps=0,
            axis="controls",
            condition="base",
            **given,
        )
        return params, run(params)

    return make


def test_a_run_asks_with_the_instruction_that_it_chose_and_its_manifest_says_so(asked_run, monkeypatch):
    """The model is untrained, so the truth is planted: sampled answers to instruction 3 are right."""
    seen, respond = [], answers.respond

    def planted(policy, tokenizer, rows, params, seed, stage, asking=USUAL):
        if stage != "instruction":
            seen.append((stage, asking.instruction))
            return respond(policy, tokenizer, rows, params, seed, stage, asking)
        return pd.DataFrame({"k": [0, 1, 2], "correct": [0.0, float(asking.instruction == 3), 0.0]})

    monkeypatch.setattr(answers, "respond", planted)
    folder = asked_run(instruction=-1)[1]
    assert seen == [("before", 3), ("after", 3)]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["asked_with"]["accuracies"] == [0.0, 0.0, 0.0, 0.5, 0.0]
    assert manifest["asked_with"]["instruction"] == 3 == json.loads((folder / CHOICE).read_text())["instruction"]


def test_runs_that_ask_otherwise_do_not_share_the_answers_before_training(asked_run, tmp_path):
    prompts = {}
    for name, given in {"usual": {}, "other": {"instruction": 2}, "shown": {"few_shot": 2}}.items():
        params, folder = asked_run(**given, run_root=str(tmp_path / name))
        rows = [row for rows in select(params).values() for row in rows]
        prompts[name] = answers._before_path(params, rows, asking_of(params, None))
        assert "asked_with" not in json.loads((folder / "manifest.json").read_text())
    assert len(set(prompts.values())) == 3 and all(path.is_file() for path in prompts.values())
