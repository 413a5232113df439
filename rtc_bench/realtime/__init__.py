"""Chunks on a real clock, without JAX: an asynchronous controller, delay estimates, a loop that keeps its rate.

Enters: observations at a fixed rate, and a function that infers a chunk. Leaves: an action at every control step, and what
was observed of every inference. Needs NumPy alone, so that it can be taken to a robot as it is.
``serving/`` is a policy behind a websocket, and a client of one; the rest imports nothing of this project.
May import: common, policies, strategies.
"""
