"""What every room uses: settings, errors, devices, progress, costs, files, LeRobot's format, versions, tables, statistics.

Enters: nothing of this project. Leaves: functions and types that know no task, policy or strategy.
May import: nothing of this project.
"""
