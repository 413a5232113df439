"""The policies of the published benchmark: from its bucket, through the arrays-only importer, to checkpoints of ours.

Enters: an http(s) address. Leaves: <task>.safetensors, each with its weak policy, and what is missing, in one line.
"""
