from src.engine.validation import batches_of


def test_batches_of_the_validation_loss_are_full():
    assert batches_of((1, 2, 3, 4, 5), 2) == [[1, 2], [3, 4]]
    assert batches_of((1, 2), 2) == [[1, 2]]
    assert batches_of((1, 2), 5) == [[1, 2, 1, 2, 1]]
