"""Results that count, one file each; its docstring holds the command, the minutes and the score."""
