"""How well does a way of executing action chunks survive inference delay?

Rooms, in the order of their imports; each may import those above it, as far as its docstring says::

    common/       settings' checks, errors, devices, files, LeRobot's format, tables, statistics: what every room uses
    launching/    units of work -> their results, from a Ray cluster
    envs/         task -> observation, reward            (a link to ../envs)
    policies/     observation -> action chunk            (a link to ../policies)
    strategies/   request -> the chunk to execute
    realtime/     observations at a fixed rate, inferred chunks -> an action every control step; and over a wire
    evaluation/   settings -> episodes -> results.csv in a run folder
    training/     task -> experts -> data -> flow policy, which evaluation then plays
    method_training/  strategy, data or roll-outs -> what the strategy learns for a policy
    analysis/     results.csv and episodes -> curves, paired comparisons
    reporting/    curves, comparisons -> tables, figures, films, a page, wandb
    commands.py   a sweep, a comparison: played, analysed and reported

Importing the package itself imports nothing.
"""
