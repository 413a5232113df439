"""How long inference takes: models of delay, and what a strategy is told of it.

In: a delay in control steps, an episode's key, files of measured milliseconds. Out: for every request of an episode the delay
that it meets and the estimate that the strategy is given.
"""
