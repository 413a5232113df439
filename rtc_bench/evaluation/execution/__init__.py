"""How chunks are executed, traced: the timeline, batches of episodes, and the cycle from request to request.

In: a task, strategies, delays. Out: episodes, cycle by cycle.
"""
