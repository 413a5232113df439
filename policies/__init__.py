"""Networks and their files: the flow policy, its sampler, the experts' actor-critic, checkpoints."""
