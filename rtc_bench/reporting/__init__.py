"""What people look at: tables, figures, films, a page, and wandb's charts.

Enters: run folders, curves and comparisons, and the tasks and policies of an episode to film. Leaves: files and
terminal output.
May import: common, envs, policies, strategies, realtime, evaluation, analysis.
"""
