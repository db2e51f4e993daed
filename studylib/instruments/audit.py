"""What every reward pays for cheating, held against honest answers.

Every cheat of the battery answers every scenario twice, once with the wrong option and once with the right one. A
rule-based reward holds when no cheat with the wrong option (or none) earns more, in any scenario, than the median
honest wrong answer. Rewards that are known to be hackable are run beside them and reported as they are: diversity paid
to all well-formed answers, ratings that take a stated distribution (an even hedge is an answer there, and beats a wrong
one), and the rubric as a judge grades it. Controls (`rewards/controls.py`) pay wrong answers by design: what they pay
is shown, and they never count as rewards that hold.
"""

import pandas as pd

from studylib.instruments import battery, battery_stances
from studylib.instruments.battery import other
from studylib.names import FRAMEWORKS, REWARDS, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.rewards import BatchReward, Grader, batch_reward
from studylib.rewards.diversity import GATE, LENGTH_MATCHED
from studylib.scenarios import plural
from studylib.scenarios.worlds import make_split

SCENARIOS = 8
MOREBENCH, JUDGED, UNGATED = "rubric_morebench", "rubric (judge)", " (ungated)"  # names beside those of REWARDS
STANCE = "stance"  # of scenarios with several accepted options, which have a battery of their own
SHOWN = (
    "correct",
    "format",
    "rubric",
    "coverage",
    "diversity",
    "diversity" + UNGATED,
    JUDGED,
    STANCE,
)  # cheat by cheat


def guarded(name: str) -> bool:
    """Whether no cheat may pay in a reward of the audit."""
    return (
        name == MOREBENCH
        or name.startswith(STANCE)
        or (name in REWARDS and not REWARDS[name].distributions and not is_control(name))
    )


def is_control(name: str) -> bool:
    """Whether a reward pays wrong answers by design, so that it can neither hold nor fail."""
    return name in REWARDS and REWARDS[name].control


def audit_rewards(rows: list[dict], grader: Grader | None = None) -> dict[str, BatchReward]:
    """Every reward of such scenarios, and diversity without its gate, by the name that the audit's table gives it."""
    if rows[0]["accepted"]:
        evaluators = {"": "binary", " (graded)": "graded", " (groups)": "mean"}
        return {STANCE + name: batch_reward(STANCE, rows, RunParams(evaluator=of)) for name, of in evaluators.items()}
    ungated = RunParams(diversity_gate="form")
    rewards = {name: batch_reward(name, rows) for name in REWARDS if name != STANCE}
    rewards[MOREBENCH] = batch_reward("rubric", rows, RunParams(rubric_score="morebench"))
    for name, record in REWARDS.items():
        if GATE in record.options and not name.startswith(LENGTH_MATCHED):
            rewards[name + UNGATED] = batch_reward(name, rows, ungated)
    if grader:
        judged = RunParams(rubric_grader="judge", judge="given", rewards="rubric=1")
        rewards[JUDGED] = batch_reward("rubric", rows, judged, grader)
    return rewards


def audit(
    rows: list[dict] | None = None, grader: Grader | None = None, only: tuple[str, ...] | None = None
) -> pd.DataFrame:
    """What each answer earns: columns reward, scenario, kind, answer, gives (right or wrong), value (NaN: no score).

    A reward that compares answers sees each beside the scenario's two honest ones. Kind is that of the cheat, or
    "honest". `only` names the rewards to run; default all.
    """
    rows = audit_rows() if rows is None else rows
    answers = {row["id"]: _answers(row) for row in rows}
    table = []
    chosen = {name: f for name, f in audit_rewards(rows, grader).items() if only is None or name in only}
    for name, reward in chosen.items():
        for row in rows:
            values = _earned(name, reward, _scenario(name, row), [response for *_, response in answers[row["id"]]])
            labels = (label for *label, _ in answers[row["id"]])
            table += [(name, row["id"], *label, value) for label, value in zip(labels, values, strict=True)]
    return pd.DataFrame(table, columns=["reward", "scenario", "kind", "answer", "gives", "value"]).astype(
        {"value": float}
    )


def _scenario(name: str, row: dict) -> dict:
    """The scenario as the reward meets it in its own world: people's ratings, of which an even hedge is a reading, come
    to the rewards of ratings alone."""
    if name.startswith("rating_"):
        return row
    return {field: value for field, value in row.items() if field != "ratings"}


def _earned(name: str, reward: BatchReward, row: dict, responses: list[str]) -> list[float | None]:
    record = REWARDS.get(name.removesuffix(UNGATED))
    if record is None or not record.compares:
        return reward(responses, [row] * len(responses))
    beside = list(battery.honest(row).values())
    return [reward([response, *beside], [row] * 3)[0] for response in responses]


def audit_rows(n: int = SCENARIOS, seed: int = 0) -> list[dict]:
    """Scenarios of the local world, all frameworks, three facts in each text, so that there are perspectives to take.

    Four raters have judged each scenario, three of them rightly.
    """
    rows = make_split(
        "local_norms", "train", n, seed, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, frameworks=tuple(FRAMEWORKS),
        facts_told=3,
    )  # fmt: skip
    return [row | {"ratings": _ratings(row)} for row in rows]


def stance_rows(n: int = SCENARIOS, seed: int = 0) -> list[dict]:
    """Scenarios of `plural_norms` with two accepted stances each."""
    return plural.make_split("train", n, seed, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, accepted_stances=2)


def _ratings(row: dict) -> list[dict]:
    chosen = [row["answer"]] * 3 + [other(row["answer"])]
    return [
        {"rater": f"rater {i}", "value": float(1 + row["options"].index(option)), "groups": []}
        for i, option in enumerate(chosen)
    ]


def _answers(row: dict) -> list[tuple[str, str, str, str]]:
    """(kind, label, right or wrong, response) of every answer to one scenario."""
    of = battery_stances if row["accepted"] else battery
    answers = [("honest", "honest", gives, response) for gives, response in of.honest(row).items()]
    for label, (kind, cheat) in of.CHEATS.items():
        answers += [(kind, label, gives, cheat(row, answer)) for gives, answer in of.options(row).items()]
    return answers


def which_hold(table: pd.DataFrame) -> pd.DataFrame:
    """A line per reward: medians of the honest, the best-paid cheat against each, and whether the reward holds.

    `best` is the most that a cheat with the wrong option earns in any scenario; `holds` says that it is no more than
    the median honest wrong answer, of a reward that is no control. `best_right` is the same for cheats that give the
    right option.
    """
    lines = []
    for name, part in table.groupby("reward", sort=False):
        cheats, fair = part[part.kind != "honest"], part[part.kind == "honest"].groupby("gives").value.median()
        wrong, right = (cheats[cheats.gives == gives] for gives in ("wrong", "right"))
        lines.append({
            "reward": name, "honest_wrong": fair["wrong"], "best": wrong.value.max(), "best_cheat": _best(wrong),
            "holds": bool(wrong.value.max() <= fair["wrong"] + 1e-9) and not is_control(name),
            "honest_right": fair["right"], "best_right": right.value.max(), "best_right_cheat": _best(right),
            "unscored": int(part.value.isna().sum()), "guarded": guarded(name), "control": is_control(name),
        })  # fmt: skip
    return pd.DataFrame(lines).set_index("reward")


def _best(cheats: pd.DataFrame) -> str:
    return "" if cheats.value.isna().all() else str(cheats.loc[cheats.value.idxmax(), "answer"])


def payments(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over scenarios of what each answer earns from each reward; a row per cheat with the wrong option."""
    wrong = table[table.gives == "wrong"]
    return wrong.pivot_table(index=["kind", "answer"], columns="reward", values="value", sort=False)


def audit_report(scenarios: int = SCENARIOS, judge_folder: str = "") -> tuple[dict[str, pd.DataFrame], bool]:
    """({"rewards": a line per reward, "payments": a row per cheat}, whether every guarded reward holds).

    scenarios: how many are answered, even; judge_folder: a trained judge, whose rubric reward is run too.
    """
    grader = _judge(judge_folder) if judge_folder else None
    table = pd.concat([audit(audit_rows(scenarios), grader), audit(stance_rows(scenarios))], ignore_index=True)
    lines = which_hold(table)
    return {"rewards": lines, "payments": payments(table)}, bool(lines[lines.guarded].holds.all())


def audit_text(tables: dict[str, pd.DataFrame]) -> str:
    """The tables of `audit_report` for a reader: cheat by cheat for the rewards in `SHOWN`, then a line per reward."""
    paid, lines = tables["payments"], tables["rewards"]
    return "\n".join((
        f"What {len(paid)} cheats with the wrong option earn, mean over scenarios:\n",
        paid[[name for name in paid if name in SHOWN]].round(3).to_string(),
        "\nThe most that a cheat earns in any scenario, and the median honest answer:\n",
        lines.round(3).to_string(line_width=200),
    ))  # fmt: skip


def _judge(folder: str) -> Grader:
    from studylib.judge.model import Judge  # which imports torch

    return Judge.load(folder).grade
