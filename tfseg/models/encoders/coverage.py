"""All or nothing: which tensors of a file fit the variables of a network."""

ROWS = 8  # of each kind in the table


def require_full_coverage(owner, path, wanted, found):
    """Raise a ValueError with a table unless a file holds exactly the tensors wanted.

    Args:
        owner: who asks.
        path: the file, for the message.
        wanted: {name: shape} of the network's variables.
        found: {name: shape} of the file's tensors.
    """
    missing = [f"{name} {shape}" for name, shape in wanted.items() if name not in found]
    unexpected = [f"{name} {shape}" for name, shape in found.items() if name not in wanted]
    wrong = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    if not missing and not unexpected and not wrong:
        return
    fitting = len(wanted) - len(missing) - len(wrong)
    table = [f"  {fitting:5d} fit"]
    for kind, rows in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", wrong)):
        table.append(f"  {len(rows):5d} {kind}")
        table += [f"          {row}" for row in rows[:ROWS]]
        table += [f"          ... and {len(rows) - ROWS} more"] if len(rows) > ROWS else []
    raise ValueError(
        f"{owner}: '{path}' holds other tensors than this network's {len(wanted)}; none was loaded.\n"
        + "\n".join(table)
        + "\nTake the weights of this very network, without its classifier (include_top=False)."
    )
