"""Published results, one file each; its docstring has the command, the minutes and the score."""
