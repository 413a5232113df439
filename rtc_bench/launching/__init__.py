"""Work that many machines share: a Ray cluster, the units of work that it runs, and what they need, sent by content.

Enters: units of work, and the user's code that has been imported. Leaves: their results, in the order in which they come.
May import: common.
"""
