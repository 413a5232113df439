"""How long will the next inference take? From the last observed delays, oldest first, to control steps.

An estimate is any function of the delays; what a request is told is it, clipped to what is left of the chunk.
"""

from collections.abc import Callable, Sequence

import numpy as np

Estimate = Callable[[Sequence[int]], int]


def maximum(delays: Sequence[int]) -> int:
    """The longest of them: Algorithm 1 of arXiv 2506.07339."""
    return max(delays)


def quantile(q: float) -> Estimate:
    """The shortest observed delay that a share ``q`` of them do not exceed; 1 is ``maximum``. Raises ValueError."""
    if not 0 <= q <= 1:
        raise ValueError(f"q={q} is not a share; give a number from 0 to 1")
    return lambda delays: int(np.quantile(delays, q, method="inverted_cdf"))


def constant(delay: int) -> Estimate:
    """The same always, whatever was observed."""
    return lambda delays: delay


def offset(estimate: Estimate, steps: int) -> Estimate:
    """``steps`` more than an estimate says; fewer if negative."""
    return lambda delays: estimate(delays) + steps
