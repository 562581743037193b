"""Problems as people read them."""

from gateway.problems import ConfigError, Lines, Problem, shown


def test_a_path_is_shown_as_in_error_texts():
    assert shown(()) == "$"
    assert shown(("plugins", 0, "with", "limit")) == "$.plugins[0].with.limit"


def test_a_problem_is_one_line_whatever_it_holds():
    problem = Problem(file="c.yaml", line=3, path="$.a\nb", text="bad\x1b[31m\nthing")
    assert str(problem) == r"c.yaml:3: $.a\nb: bad\x1b[31m\nthing"
    assert str(Problem(file="c.yaml", line=0, path="$", text="gone")) == "c.yaml: $: gone"


def test_a_line_is_that_of_the_nearest_thing_around():
    lines = Lines("c.yaml", {(): 1, ("a",): 2, ("a", 0): 3})
    assert [lines.at(path) for path in [(), ("a", 0, "b"), ("a", 7), ("z",)]] == [1, 3, 2, 1]
    assert Lines().at(("a",)) == 0


def test_an_error_has_its_problems_in_the_order_of_the_file():
    problems = [Problem(file="c", line=line, path="$", text="x") for line in (3, 1, 2)]
    assert str(ConfigError(problems)) == "c:1: $: x\nc:2: $: x\nc:3: $: x"
