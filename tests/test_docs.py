"""README and docs: short enough to be finished, paths that are there, tables and figures as they are committed."""

import re
from pathlib import Path

import pandas as pd
import pytest
from estimates import bias

from studylib.__main__ import parser
from studylib.claims.plan import read_plan
from studylib.instruments import seed_sets
from studylib.instruments.judge_gap import CHECKER, FLAWED, JUDGE, gap_at_ends
from studylib.names import ENDPOINTS

ROOT = Path(__file__).resolve().parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
UNSEEN = "split == 'held_out_domains' and endpoint == 'accuracy_sampled'"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def committed(axis: str, name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / f"figures/{axis}/{name}.csv")


def test_a_person_finishes_the_readme():
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_files_and_pages_that_a_page_speaks_of_are_there(path):
    text = path.read_text()
    names = re.findall(r"`((?:notebooks|studylib|params|tests|figures|docs|workflow)/[\w./-]+)`", text)
    names = [name for name in names if name not in ("params/profiles/my_gpu.yaml", "params/lengths.yaml")]
    assert not [name for name in names if not (ROOT / name).exists() and not name.endswith("report.html")]
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert not [link for link in links if not (path.parent / link).exists()]


def test_the_tree_of_the_readme_is_that_of_the_repository():
    tree = README.read_text().partition("## What lies where\n\n```\n")[2].partition("```")[0]
    home = ""
    for line in tree.splitlines():
        inner = line.startswith("  ")
        names = re.match(r"\s*(\S+?,? ?\S*?)(?:\s{2,}|$)", line)[1].split(", ")
        home = "" if not inner else home
        assert all((ROOT / home / name).exists() or name == "runs/" for name in names), line
        home = home if inner or not names[0].endswith("/") else names[0]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_that_a_page_shows_are_understood(path):
    text = path.read_text().replace("\\\n", " ")
    for command in re.findall(r"python -m studylib ([a-z][^`\n]*)", text):
        words = re.findall(r'"[^"]*"|\S+', command.partition("  ")[0].partition("#")[0])
        if "--help" not in words:
            parser().parse_args([word.strip('"') for word in words])


def test_the_examples_of_an_extension_take_at_most_fifteen_lines():
    examples = re.findall(r"<!-- code: (\w+) -->\n```\w+\n(.*?)```", page("extend"), re.DOTALL)
    kinds = {kind: len(code.splitlines()) for kind, code in examples}
    assert set(kinds) == {"condition", "profile", "axis", "reward", "source", "objective", "endpoint"}
    assert max(kinds.values()) <= 15


def test_the_table_of_the_readme_is_that_of_the_committed_figures():
    readme = README.read_text()
    means, claims = (committed("inputs", name).query(UNSEEN) for name in ("means", "claims"))
    for row in means.itertuples():
        interval = "" if row.condition == "warm_start" else f" [{row.low:.3f}, {row.high:.3f}]"
        assert f"| {row.mean:.3f}{interval} |" in readme
    for row in claims.query("contrast == 'broad - narrow'").itertuples():
        assert f"| {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]: {row.decision} |" in readme


def test_what_the_readme_says_of_several_right_answers_is_in_the_committed_tables():
    readme = " ".join(README.read_text().split())
    kept, cost = "stances_kept_share", "accuracy_sampled"
    of_groups = "world == 'groups' and split == 'held_out_domains'"
    means = committed("landscape", "means").query(of_groups).set_index(["endpoint", "condition"])["mean"]
    assert f"keeps {means[kept, 'gflowrl']:.3f} of the accepted answers and GRPO {means[kept, 'grpo']:.3f}" in readme
    claims = committed("landscape", "claims").query(f"{of_groups} and contrast == 'gflowrl - grpo'")
    claims = claims.set_index("endpoint")
    row = claims.loc[kept]
    assert f"({row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]), with equivalent accuracy" in readme
    assert (row.decision, claims.loc[cost].decision) == ("different", "equivalent")


def test_what_the_readme_says_of_a_random_reward_is_in_the_tables():
    readme = " ".join(README.read_text().split())
    primary = "split == 'held_out_domains' and endpoint == 'accuracy_sampled'"
    claims = committed("controls", "claims").query(primary).set_index("contrast")
    for said, name in (("gains nothing", "random_4 - base"), ("sense of its answers", "random_4_unclipped - base")):
        row = claims.loc[name]
        assert row.high < 0 and f"{said} ({row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}])" in readme


def test_what_is_written_of_the_seed_sets_follows_from_their_runs():
    plan, runs = read_plan("inputs"), committed("inputs", "seed_sets_runs")
    sets = seed_sets.set_claims(runs, plan)
    assert sets["decision"].tolist() == ["equivalent"] * 10
    assert "all ten are *equivalent*, none is *different*" in page("claims")
    assert sets["difference"].tolist() == pytest.approx(committed("inputs", "seed_sets")["difference"])


def test_the_error_rates_that_are_written_are_those_of_the_committed_simulation():
    table, text = (
        pd.read_csv(ROOT / "figures/validate.csv").set_index("what")["value"],
        " ".join(page("claims").split()),
    )
    rates = [
        table.filter(regex=start).iloc[0]
        for start in (
            "^false 'different'.*5 seeds, 1 contrast.*, equal",
            "^false 'different'.*5 seeds, 14 contrasts.*, equal",
            "^coverage.*5 seeds",
        )
    ]
    different, any_different, coverage = (f"{100 * rate:.1f} %" for rate in rates)
    assert f"called *different* in {different} of the studies, and any of 14 in {any_different}" in text
    assert f"covers the truth in {coverage}" in text


def test_what_is_written_of_the_judge_is_in_the_committed_figures():
    text, table = " ".join(page("judge").split()), committed("judge", "agreement").set_index("group")
    every = table.loc["all"]
    assert f"{every.accuracy:.3f} [{every.accuracy_low:.3f}, {every.accuracy_high:.3f}]" in text
    assert f"kappa {every.kappa:.3f}, AUROC {every.auroc:.3f}, calibration error {every.ece:.3f} (chance" in text
    assert f"a calibrated judge {every.ece_calibrated:.3f})" in text and f"On {every.n:,.0f} held-out" in text
    assert f"on answers of the policy {table.loc['warm start'].accuracy:.3f}" in text
    assert f"sentence by sentence {table.loc['variants'].accuracy:.3f}" in text
    ends = gap_at_ends(committed("judge", "gap")).set_index("arm")
    for arm in (JUDGE, FLAWED):
        growth, low, high = ends.loc[arm, ["growth", "low", "high"]]
        assert f"{growth:+.3f} [{low:+.3f}, {high:+.3f}]" in text, arm
    assert f"({ends.checker_end[JUDGE]:.3f} and {ends.checker_end[CHECKER]:.3f})" in text
    assert f"true score ends at {ends.checker_end[FLAWED]:.3f}" in text


def test_the_benchmark_table_is_that_of_the_committed_figures():
    for row in committed("bench", "ratio").itertuples():
        spread = f"{row.ratio:.2f} [{row.ratio_low:.2f}, {row.ratio_high:.2f}]"
        assert f"| {row.P}, {row.C}, {row.G} | {spread} | {row.memory_ratio:.2f} |" in page("speed")


def test_the_page_of_endpoints_has_all_of_them():
    table = page("endpoints").partition("| --- |")[2].partition("\n\n")[0]
    names = {name for line in table.splitlines()[1:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    passes = {name.replace("_", "pass_", 1) for name in names if re.fullmatch(r"_\d+", name)}
    assert {name for name in names if not name.startswith("_")} | passes == set(ENDPOINTS)


def test_the_bias_that_the_page_of_endpoints_states_is_that_of_the_estimator():
    stated = " ".join(page("endpoints").split())
    for shares in ([1 / 2] * 2, [1 / 4] * 4, [0.7, 0.1, 0.1, 0.1]):
        two, one, last = (f"{bias(n, shares):.3f}".replace("-0.000", "0.000") for n in (4, 8, 16))
        assert f"{two}, {one} and {last}" in stated
