"""The training stage of a strategy that learns: from a task's data, or from roll-outs that an expert labels, to its weights.

Enters: a policy, its task's data or experts, a strategy. Leaves: a file of the strategy's weights for that policy.
May import: common, launching, envs, policies, strategies, evaluation, training.
"""
