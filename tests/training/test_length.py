from tfseg.training.length import length_for, refit


def test_rounds_fill_a_time():
    # 20 rounds of 5 s each: a validation of 1 s and four steps of 1 s
    length = length_for(100, 1.0, 1.0)
    assert (length.epochs, length.steps_per_epoch, length.steps) == (20, 4, 80)
    assert length.ends == list(range(4, 84, 4))
    assert length.moves == [[0, 80]]
    assert (length.seconds_per_step, length.seconds_per_validation) == (1.0, 1.0)
    # 20 validations of 4 s would take 80 of 100 s: 5 rounds of 20 s, each with four steps of 4 s
    assert length_for(100, 4.0, 4.0).ends == [4, 8, 12, 16, 20]
    assert length_for(10, 1.0, 4.0).ends == [6]
    assert length_for(100, 1.0, 0.0).ends == list(range(5, 105, 5))
    assert length_for(1, 5.0, 0.5).ends == [1]


def test_a_length_is_fitted_to_the_time_that_is_left():
    length = length_for(100, 4.0, 4.0)
    # in the third round: 44 s are three validations and eight steps of 4 s; one step has been done
    slower = refit(length, 9, 44, 4.0, 4.0)
    assert slower.ends == [4, 8, 11, 14, 17]
    assert slower.epochs == 5
    assert slower.moves == [[0, 20], [9, 17]]
    # three rounds of 8 s for validations would take over a third of the time
    slower = refit(length, 9, 44, 4.0, 8.0)
    assert (slower.epochs, slower.ends) == (3, [4, 8, 18])
    faster = refit(length, 9, 100, 1.0, 1.0)
    assert faster.ends == [4, 8, 41, 73, 106]
    # no time at all: a step, and a validation that selects the best epoch
    assert refit(length, 9, -5, 1.0, 1.0).ends == [4, 8, 10]


def test_a_round_that_is_over_already_ends_after_its_next_step():
    length = length_for(100, 1.0, 1.0)
    shorter = refit(length, 3, 40, 2.0, 0.0)  # 20 steps in 20 rounds, and the first has had three
    assert shorter.ends[:4] == [4, 5, 6, 7]
    assert shorter.ends[-1] == 23
    assert len(shorter.ends) == 20
