"""The page of a study on a phone and in the dark; what it says is tested with the claims."""

import re

import pandas as pd
import pytest

from studylib.claims.plan import read_plan
from studylib.claims.report import TEMPLATE, report
from studylib.paths import FIGURES, ROOT


@pytest.fixture(scope="module", params=["inputs", "objective"])
def page(request):
    return report(FIGURES / request.param, read_plan(request.param), FIGURES / "validate.csv")


def test_on_a_narrow_screen_every_value_stands_beside_the_name_of_its_column(page):
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "td::before { content: attr(data-name)" in page and "@media (max-width: 45rem)" in page
    for table in re.findall(r"<table.*?</table>", page, re.S):
        names = re.findall(r"<th>(.*?)</th>", table)
        for row in re.findall(r"<tr>(<td.*?)</tr>", table, re.S):
            assert re.findall(r'<td data-name="(.*?)">', row) == names
        assert ('class="many"' in table) == (len(names) > 3)


def test_the_page_follows_a_dark_theme_and_leaves_the_figures_on_white(page):
    dark = page[page.index("@media (prefers-color-scheme: dark)") :]
    assert (
        "color-scheme: light dark" in page
        and "--paper: #16181c" in dark
        and "img { max-width: 100%; background: #fff" in page
    )
    colours = re.findall(r"(?<!-)\bcolor: ([^;]+);", page)
    assert colours and all(colour.startswith("var(--") for colour in colours), (
        "none is fixed, or it would be black on black"
    )


def test_names_and_texts_are_escaped(tmp_path):
    for name in ("means", "claims"):
        table = pd.read_csv(FIGURES / f"inputs/{name}.csv", keep_default_na=False, na_values=[""])
        table.assign(world="<script>&").to_csv(tmp_path / f"{name}.csv", index=False)
    text = report(tmp_path, read_plan("inputs"))
    assert "<script>" not in text and "&lt;script&gt;&amp;" in text


def test_the_template_is_packaged():
    assert (ROOT / "studylib/claims" / TEMPLATE).is_file()
    assert '"studylib.claims" = ["*.html", "*.md"]' in (ROOT / "pyproject.toml").read_text()
