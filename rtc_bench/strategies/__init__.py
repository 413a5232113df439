"""Ways of executing action chunks. Built-in ones have a name in ``registry``; one's own works by its file or dotted path.

Enters: a request (observation, the chunk now executing, d, s, noise) and a policy. Leaves: the chunk to execute.
May import: common, policies.
"""
