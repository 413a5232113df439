"""From a task to its policy in three stages of files: experts (search, then RPO), expert data, flow policy; and the zoo.

Enters: a task's name, or a LeRobot data set for a flow policy alone. Leaves: runs/experts, data (LeRobot data
sets, too) and runs/flow; ``publishing`` makes finished policies the shipped ones.
Policies are measured by the evaluator that will play them, so this room stands after evaluation.
May import: common, launching, envs, policies, strategies, evaluation.
"""
