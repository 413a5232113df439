"""Methods with a training stage of their own: low-rank adapters of the policy, or a head beside it."""
