"""Episodes under delay: settings -> tasks, policies and strategies -> every cell's episodes -> a run folder.

Enters: a ``SweepConfig``, and checkpoints. Leaves: results.csv, episodes/, config.yaml and manifest.json,
the same read back, episodes replayed, and what a chunk costs.
May import: common, launching, envs, policies, strategies, realtime.
"""
