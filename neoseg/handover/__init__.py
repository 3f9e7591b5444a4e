"""Export trained networks for programs that do not depend on neoseg."""
