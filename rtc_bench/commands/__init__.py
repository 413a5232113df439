"""What a user starts, from a shell (`rtc-bench`, scripts/) or a notebook: command line or call -> settings -> one function.

Enters: words of a command line, checked against a config file, or arguments of a call. Leaves: a sweep, a comparison or a
policy server; the other commands are functions of the rooms below, which ``table`` names and only their start loads.
May import: common, envs, policies, strategies, realtime, evaluation, training, method_training, analysis, reporting.
"""
