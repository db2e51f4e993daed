"""Reading files: what is wrong is refused by file and line, what is harmless is read."""

import gzip

import pytest

from studylib.text.files import read_cells, read_mapping, read_object, read_objects, read_text


def file(folder, content: bytes | str, name: str = "given.txt"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


READERS = {"text": read_text, "object": read_object, "mapping": read_mapping,
           "objects": lambda path: list(read_objects(path)), "cells": lambda path: list(read_cells(path))}  # fmt: skip


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize(
    "content, message",
    [
        (b"a: 1\nb: caf\xe9\n", "not UTF-8 text in .*given.txt, line 2: invalid continuation byte 0xe9"),
        (b"a\r\n\r\n\xff", "not UTF-8 text in .*given.txt, line 3: invalid start byte"),
        ("a: 1\n".encode("utf-16"), "not UTF-8 text in .*given.txt, line 1: it is UTF-16"),
        ("a\nb\n".encode("utf-16-be"), "not text in .*given.txt, line 1: it holds a NUL"),
        (b"a: 1\nb\0c\n", "not text in .*given.txt, line 2: it holds a NUL"),
        (gzip.compress(b"a: 1\n" * 5000)[:40], "given.txt is not a complete gzip file: it can be read up to line"),
        (gzip.compress(b"a: 1\n")[:-3] + b"xyz", "given.txt is not a complete gzip file"),
    ],
)
def test_what_is_no_text_is_refused_by_file_and_line(tmp_path, reader, content, message):
    with pytest.raises(ValueError, match=message):
        reader(file(tmp_path, content))


def test_what_cannot_be_opened_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.yaml cannot be read: No such file"):
        read_mapping(tmp_path / "nowhere.yaml")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_text(tmp_path)
    with pytest.raises(ValueError, match=r"plain\.csv\.gz is not a complete gzip file"):
        read_text(file(tmp_path, "not packed", "plain.csv.gz"))


def test_packed_files_byte_order_marks_and_any_line_end_are_read(tmp_path):
    text = "\ufeffa: 1\r\nb: ä\r\n"
    for content in (
        text.encode(),
        gzip.compress(text.encode()),
        gzip.compress(b"a: 1\n") + gzip.compress("b: ä".encode()),
    ):
        assert read_mapping(file(tmp_path, content)) == {"a": 1, "b": "ä"}


# --- JSON ---


@pytest.mark.parametrize("line", ["5", "null", '"text"', "[{}]", "{", '{"a": 1} {"b": 2}', "NaN", "True", "{'a': 1}",
                                  '{"a": 1, "a": 2}', '{"b": {"a": 1, "a": 2}}', '{"a": "\\ud800"}'])  # fmt: skip
def test_a_json_line_that_is_no_object_is_refused_with_its_line(tmp_path, line):
    path = file(tmp_path, f'{{"a": 1}}\n\n  \n{line}\n')
    with pytest.raises(ValueError, match=r"not a JSON object in .*given\.txt, line 4: "):
        list(read_objects(path))


def test_json_lines_end_where_an_editor_ends_them(tmp_path):
    path = file(tmp_path, '{"a": "one\u2028line\x85here"}\r\n\r\n{"a": "\\ud83d\\ude00"}')
    assert list(read_objects(path)) == [(1, {"a": "one\u2028line\x85here"}), (3, {"a": "😀"})]


@pytest.mark.parametrize(
    "content, line", [("", 1), ("{\n\n", 3), ('{"a": 1,\n"a": 2}', 1), ("[1]", 1), ('{"a": 1}\n}', 2)]
)
def test_a_json_file_that_is_no_object_is_refused_with_its_line(tmp_path, content, line):
    with pytest.raises(ValueError, match=rf"not (a )?JSON.* in .*given\.txt, line {line}: "):
        read_object(file(tmp_path, content))


# --- csv ---


@pytest.mark.parametrize("row", ['1,"open\n2,b\n', '1,a "quoted" word\n', '1,"a" b\n', '1, "a"\n', '"1"",a\n'])
def test_quotes_stand_around_a_cell_or_not_at_all(tmp_path, row):
    with pytest.raises(
        ValueError, match=r"a quote in .*given\.txt, line 3 is not closed, or stands inside an unquoted cell"
    ):
        list(read_cells(file(tmp_path, f"n,text\n0,a\n{row}")))


def test_cells_keep_what_is_in_their_quotes_and_long_ones_are_read(tmp_path):
    text = 'a,b\r\n"x, ""y""\r\n\r\nz",\n\n"",2\r' + "w" * 200_000 + ",3"
    assert list(read_cells(file(tmp_path, text))) == [
        (1, ["a", "b"]), (4, ['x, "y"\r\n\r\nz', ""]), (6, ["", "2"]), (7, ["w" * 200_000, "3"]),
    ]  # fmt: skip


# --- YAML ---


@pytest.mark.parametrize(
    "text, value",
    [("010", 10), ("0o10", 8), ("0x1F", 31), ("1e-5", 1e-5), ("1E3", 1000.0), ("+3", 3), (".5", 0.5), ("2.", 2.0),
     ("1:30", "1:30"), ("1_000", "1_000"), ("0b11", "0b11"), ("yes", "yes"), ("No", "No"), ("on", "on"), ("OFF", "OFF"),
     ("y", "y"), ("2026-01-01", "2026-01-01"), ("true", True), ("FALSE", False), ("~", None), ("", None), ("=", "="),
     ("'1'", "1"), (".inf", float("inf"))],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(tmp_path, text, value):
    found = read_mapping(file(tmp_path, f"a: {text}\n"))["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text, line, problem",
    [
        ("seed: 1\n\tsteps: 2\n", 2, "cannot start any token"),
        ("seed: 1\nsteps: 2\nseed: 3\n", 3, "key 'seed' comes twice"),
        ("seed: 1\n'seed': 3\n", 2, "key 'seed' comes twice"),
        ("a: 1\nb: 'open\n", 3, "found unexpected end of stream"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: *c\n", 2, "undefined alias"),
        ("a: \x07\n", 1, "special characters are not allowed"),
        ("# nothing\n", 1, "must hold a mapping, name: value, not nothing"),
        ("- seed\n", 1, "must hold a mapping, name: value, not a list"),
        ("seed\n", 1, "must hold a mapping, name: value, not a str"),
    ],
)
def test_a_faulty_yaml_file_is_named_with_its_line(tmp_path, text, line, problem):
    with pytest.raises(ValueError, match=rf"given\.txt, line {line}: .*{problem}"):
        read_mapping(file(tmp_path, text))
