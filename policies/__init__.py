"""Networks and their files: the flow policy, its sampler, the experts' actor-critic, checkpoints; shipped and published ones.

Enters: observations, noise, checkpoint files. Leaves: action chunks, and checkpoint files.
May import: common.
"""

PREDICTION_HORIZON = 8  # H, control steps in a chunk, unless a policy says otherwise
