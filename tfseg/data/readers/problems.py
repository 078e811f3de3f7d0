"""The wording of errors that list several files, values or names."""

MOST = 8  # entries of a list that one message names
VALUE_REMEDY = (
    "Name more classes, set the value to ignore (`ignore_value`, `--ignore-value`), or correct the "
    "mask."
)
IMAGE_REMEDY = (
    "That many values are typical of an image (are images and masks swapped?) or of numbered "
    "objects. Give every pixel the id of its class, such as (objects > 0) for one class; to "
    "separate numbered objects, train with `--task instances --labels` in place of `--masks`."
)
NUMBER_REMEDY = (
    "Values 1, 2, 3 ... without a class are typical of numbered objects: to separate the objects, "
    "train with `--task instances --labels` in place of `--masks`; `tfseg.data.InstanceMasks` "
    f"reads them. If they are classes: {VALUE_REMEDY[0].lower()}{VALUE_REMEDY[1:]}"
)


def first_few(items, most: int = MOST) -> str:
    """Join items by commas; after `most` of them write "..." for the others.

    Example:
        >>> first_few([3, 5, 7], most=2)
        '3, 5 ...'
    """
    items = list(items)
    text = ", ".join(map(str, items[:most]))
    return f"{text} ..." if len(items) > most else text


def format_problems(problems: list[str], most: int = MOST) -> str:
    """Format problems as a list, one per line. What several share is written once.

    Args:
        problems: sentences.
        most: number of problems to write out; the others are counted.

    Example:
        >>> print(format_problems(["a.png is empty.", "b.png is empty."]))
        2 problems:
          a.png is empty.
          b.png is empty.
    """
    problems = list(dict.fromkeys(problems))  # all slices of a volume have the same problem
    if len(problems) == 1:
        return problems[0]
    remedies = [
        remedy
        for remedy in (NUMBER_REMEDY, VALUE_REMEDY, IMAGE_REMEDY)
        if any(remedy in problem for problem in problems)
    ]
    for remedy in remedies:
        problems = [problem.replace(f" {remedy}", "") for problem in problems]
    lines = [f"{len(problems)} problems:", *(f"  {problem}" for problem in problems[:most])]
    if len(problems) > most:
        lines.append(f"  ... and {len(problems) - most} more")
    return "\n".join([*lines, *remedies])


def dropped_sentence(dropped: list[tuple[str, str]]) -> str:
    """Return a sentence about annotations that a reader left out, with a space before it.

    Args:
        dropped: (name, reason) of each, as in `Reader.dropped`.

    Returns:
        The sentence; empty if there are none.

    Example:
        >>> dropped_sentence([("a.jpg", "object 1 has no area")])
        ' The reader left out 1 annotation, such as a.jpg: object 1 has no area.'
    """
    if not dropped:
        return ""
    annotations = "1 annotation" if len(dropped) == 1 else f"{len(dropped)} annotations"
    name, reason = dropped[0]
    return f" The reader left out {annotations}, such as {name}: {reason}."
