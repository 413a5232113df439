"""Policies behind a websocket, as the openpi client speaks: a server for ours, and a client that is a policy.

Enters: a policy and a strategy, or a server's address. Leaves: answers to any openpi client, or a policy made elsewhere.
May import: common, policies, strategies.
"""
