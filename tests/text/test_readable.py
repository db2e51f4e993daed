"""What keeps an answer from being read."""

from studylib.text.readable import problems


def test_shares_of_all_options_are_an_answer_of_what_people_rated_alone():
    said = "<think>It hurts.</think><answer>permissible: 0.5, wrong: 0.5</answer>"
    assert problems(said, ["permissible", "wrong"], cut=False) == {"no option"}
    assert problems(said, ["permissible", "wrong"], cut=False, rated=True) == set()
