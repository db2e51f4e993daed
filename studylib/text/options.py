"""The options of a scenario: what is forgiven when one is named, and which sets of options are refused."""

from functools import lru_cache

from studylib.text.spelling import folded

TAGS = ("<think>", "</think>", "<answer>", "</answer>")  # of a well-formed response; no option can hold one


def named(text: str, options: list[str]) -> str | None:
    """The option that a text gives word for word, else the one that folds to the same; None for none or several."""
    return text if text in options else _by_text(tuple(options)).get(folded(text))


@lru_cache(maxsize=4096)
def _by_text(options: tuple[str, ...]) -> dict[str, str | None]:
    texts = [folded(option) for option in options]
    return {text: option if texts.count(text) == 1 else None for text, option in zip(texts, options, strict=True)}


def check_options(row: dict) -> None:
    """Raise ValueError for options that no answer can tell apart or give, and for an answer that is none of them."""
    options, where = row.get("options"), f"scenario {row['id']}"
    if options is None:
        return
    if not options or not all(isinstance(option, str) and folded(option) for option in options):
        raise ValueError(f"options {options!r} of {where} are not allowed: texts, none of them empty")
    if tagged := [option for option in options if any(tag in option for tag in TAGS)]:
        raise ValueError(f"option {tagged[0]!r} of {where} is not allowed: no answer can hold a tag")
    alike = [option for option in options if _by_text(tuple(options))[folded(option)] is None]
    if alike:
        raise ValueError(
            f"options {alike!r} of {where} are not allowed: they differ only in what an answer is forgiven "
            "(white space, case, composed letters, one closing full stop)"
        )
    if row.get("answer") is not None and row["answer"] not in options:
        raise ValueError(
            f"answer {row['answer']!r} of {where} is not allowed: it is not one of its options {options!r}"
        )
    if row.get("accepted"):
        _check_accepted(row, [stance["option"] for stance in row["accepted"]], where)


def _check_accepted(row: dict, right: list[str], where: str) -> None:
    if not set(right) <= set(row["options"]) or len(set(right)) < len(right) or row["answer"] not in right:
        raise ValueError(f"accepted {right!r} of {where} is not allowed: options, each once, the answer among them")
    levels = {stance["option"]: stance["level"] for stance in row["accepted"]}
    if not all(0 < level <= levels[row["answer"]] <= 1 for level in levels.values()):
        raise ValueError(f"levels {levels!r} of {where} are not allowed: in (0, 1], none above that of the answer")
