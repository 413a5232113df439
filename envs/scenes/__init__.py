"""The four scenes that are ours, one module each. Numbers are those of the published benchmark (MIT licence)."""
