"""What run folders say, in numbers: success curves over delay and horizon, and paired comparisons of strategies.

Enters: rows and episodes of run folders. Leaves: curves and comparisons with intervals.
May import: common, evaluation.
"""
