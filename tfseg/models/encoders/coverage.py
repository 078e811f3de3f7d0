"""Check that the tensors of a weights file are exactly those of a network."""

ROWS = 8  # rows per section of the table
ADVICE = "Use the weights of exactly this network, without its classifier (include_top=False)."


def require_full_coverage(
    owner: str, path, expected: dict, found: dict, advice: str = ADVICE
) -> None:
    """Raise a ValueError with a table unless a file contains exactly the expected tensors.

    Args:
        owner: name of the caller, for the message.
        path: path of the file, for the message.
        expected: {name: shape} of the network's variables.
        found: {name: shape} of the file's tensors.
        advice: what to do, for the message.
    """
    missing = [f"{name} {shape}" for name, shape in expected.items() if name not in found]
    unexpected = [f"{name} {shape}" for name, shape in found.items() if name not in expected]
    wrong = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if not missing and not unexpected and not wrong:
        return
    matching = len(expected) - len(missing) - len(wrong)
    table = [f"  {matching:5d} matching"]
    sections = (("missing", missing), ("unexpected", unexpected), ("of wrong shape", wrong))
    for title, rows in sections:
        table.append(f"  {len(rows):5d} {title}")
        table += [f"          {row}" for row in rows[:ROWS]]
        if len(rows) > ROWS:
            table.append(f"          ... and {len(rows) - ROWS} more")
    raise ValueError(
        f"{owner}: the tensors in '{path}' are not the {len(expected)} of this network; none were "
        "loaded.\n" + "\n".join([*table, advice])
    )
