"""MoReBench (Chiu et al., arXiv 2510.16380): dilemmas with a rubric of weighted criteria and no right answer.

| source           | rows | what is asked                                              |
| ---------------- | ---- | ---------------------------------------------------------- |
| morebench_public | 500  | what should be done, and why                               |
| morebench_theory | 150  | the same within one of five theories, 30 dilemmas for each |

The authors publish one split, for evaluation. The project parts the dilemmas in three, so that no dilemma trains the
judge and the policy, or either of them and the evaluation. A hash of the dilemma alone decides: a dilemma that stands
in both files, or under several theories, is in one part.
"""

import ast

from studylib.names import FRAMEWORKS
from studylib.scenarios.rows import digest
from studylib.scenarios.sources import JUDGE, SPLITS
from studylib.scenarios.sources.records import Origin, Record, published, records

COLUMNS = ("DILEMMA", "DILEMMA_SOURCE", "DILEMMA_TYPE", "THEORY", "RUBRIC", "ROLE_DOMAIN", "CONTEXT")
NEUTRAL = "neutral"  # theory of a dilemma that may be judged from any
PARTS = ("held_out", JUDGE, "train", "train")  # a quarter, a quarter, a half
MAX_RUBRIC = 200_000  # characters; a guard, many times the published average
DEFINITIONS = {  # added to a prompt that asks for a theory; own words
    "Act Utilitarianism": "The right act is the one that brings the greatest total well-being, with everyone "
    "counted alike.",
    "Kantian Deontology": "Act only on maxims that you can will as a law for everyone, and treat persons always "
    "as ends in themselves, never as means alone; some duties hold whatever the outcome.",
    "Aristotelian Virtue Ethics": "Act as a person of practical wisdom and good character would, finding the mean "
    "between too much and too little, for the sake of a flourishing life.",
    "Scanlonian Contractualism": "An act is wrong if any principle that allows it could reasonably be rejected by "
    "someone who seeks principles that others, so moved, could accept.",
    "Gauthierian Contractarianism": "Moral rules are the terms that rational agents, each pursuing their own "
    "interests, would agree to for mutual benefit, with concessions shared as evenly as can be.",
}
CODES = {name: code for code, name in FRAMEWORKS.items()}


def part_of(dilemma: str) -> str:
    """Which of the three parts a dilemma belongs to: held_out, judge or train."""
    return PARTS[int(digest("morebench", " ".join(dilemma.split())), 16) % len(PARTS)]


def prompt_of(dilemma: str, theory: str) -> str:
    """What is asked of a dilemma: its text on one line and, within a theory, what the theory holds."""
    text = " ".join(dilemma.split())
    return text if framework_of(theory) is None else f"{text}\n\nReason within {theory} alone. {DEFINITIONS[theory]}"


def row_id(dilemma: str, theory: str) -> str:
    """Id of the row that the loader makes of a dilemma, so that it is known again wherever it is read from."""
    source = "morebench_public" if framework_of(theory) is None else "morebench_theory"
    return digest(source, prompt_of(dilemma, theory))


def parse_rubric(text: str) -> list[dict]:
    """Criteria {id, text, weight, dimension} of MoReBench's RUBRIC column, a Python literal that is never evaluated.

    Raises ValueError for anything but a list of at least one criterion with an id of its own, a title, and a whole
    weight other than 0 in -3..3.
    """
    if not isinstance(text, str) or len(text) > MAX_RUBRIC:
        size = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
        raise ValueError(f"a rubric must be text of at most {MAX_RUBRIC} characters, not {size}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        literal = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError(f"a rubric must be a list written as a Python literal, not {text[:60]!r}") from None
    if not isinstance(literal, list) or not literal:
        raise ValueError(f"a rubric must be a list of at least one criterion, not {text[:60]!r}")
    _refuse_repeated_keys(tree)
    criteria = [_criterion(entry) for entry in literal]
    ids = [criterion["id"] for criterion in criteria]
    if len(set(ids)) < len(ids):
        raise ValueError(f"criterion {next(i for i in ids if ids.count(i) > 1)!r} comes twice in one rubric")
    return criteria


def _refuse_repeated_keys(tree: ast.AST) -> None:
    """Python would keep the last of two weights without a word."""
    for node in ast.walk(tree):
        names = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
        if len(set(names)) < len(names):
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise ValueError(f"key {twice!r} comes twice in one criterion of a rubric")


def _criterion(entry) -> dict:
    try:
        dimension = entry["annotations"]["rubric_dimension"]
        criterion = {"id": entry["id"], "text": entry["title"], "weight": entry["weight"], "dimension": dimension}
    except (KeyError, TypeError):
        raise ValueError(
            f"a criterion must have id, title, weight and annotations.rubric_dimension, not {str(entry)[:60]!r}"
        ) from None
    texts = [criterion[name] for name in ("id", "text", "dimension")]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"id, title and dimension of a criterion must be texts, not {texts!r}")
    if type(criterion["weight"]) is not int or not 1 <= abs(criterion["weight"]) <= 3:
        raise ValueError(f"weight {criterion['weight']!r} of criterion {entry['id']!r} is not allowed: -3..3, not 0")
    return criterion


def framework_of(theory: str) -> str | None:
    """Code of the theory, None for a neutral dilemma; refuses other names."""
    if theory == NEUTRAL:
        return None
    if theory not in CODES:
        raise ValueError(f"unknown theory {theory!r}; known: {NEUTRAL}, {', '.join(CODES)}")
    return CODES[theory]


# --- the sources -----------------------------------------------------------------------------------------------------


def _files(file: str) -> Origin:
    return Origin(
        folder="morebench",
        files=dict.fromkeys((*SPLITS, JUDGE), (file,)),
        columns=COLUMNS,
        hub_id="morebench/morebench",
        revision="d900e89f942f784f8e0113935034b4f0541a0b55",
        hub_files=dict.fromkeys((*SPLITS, JUDGE), (f"{file}.csv",)),
        licence="CC BY 4.0",
    )


def _records(name: str, split: str, data_dir: str) -> list[Record]:
    return [record for record in records(name, split, data_dir) if part_of(record.text("DILEMMA")) == split]


@published("morebench_public", _files("morebench_public"), read=_records, options=False)
@published("morebench_theory", _files("morebench_theory"), read=_records, options=False)
def _dilemma(record: Record) -> dict:
    theory, facts = record.text("THEORY"), {"line": record.line}
    facts |= {name.lower(): record.text(name) for name in ("DILEMMA_SOURCE", "DILEMMA_TYPE", "ROLE_DOMAIN", "CONTEXT")}
    try:
        framework, rubric = framework_of(theory), parse_rubric(record.fields["RUBRIC"])
    except ValueError as error:
        raise ValueError(f"{error} in {record.place}") from error
    prompt = prompt_of(record.text("DILEMMA"), theory)
    return {"prompt": prompt, "facts": facts, "rubric": rubric, "framework": framework}
