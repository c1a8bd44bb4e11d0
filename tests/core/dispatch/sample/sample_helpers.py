"""What sample_jobs imports, so that the tests show that a project's other modules travel, too."""


def doubled(number):
    """Twice the number."""
    return 2 * number


def explode(depth):
    """Raise from `depth` frames below."""
    if depth:
        explode(depth - 1)
    raise ArithmeticError("too much of it")
