from tfseg.data.readers.problems import VALUE_REMEDY, first_few, format_problems


def test_long_lists_are_cut():
    assert first_few(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert first_few(range(9)) == "0, 1, 2, 3, 4, 5, 6, 7 ..."


def test_a_single_problem_is_its_own_message():
    assert format_problems([f"a. {VALUE_REMEDY}"]) == f"a. {VALUE_REMEDY}"


def test_a_shared_remedy_is_written_once():
    problems = [f"{name} is wrong. {VALUE_REMEDY}" for name in "abcd"]
    assert format_problems(problems, most=2).splitlines() == [
        "4 problems:",
        "  a is wrong.",
        "  b is wrong.",
        "  ... and 2 more",
        VALUE_REMEDY,
    ]
