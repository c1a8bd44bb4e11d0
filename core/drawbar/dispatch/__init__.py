"""Dispatch: how a job gets to a target and its outcome back. `port` says what, the other files how.

Nothing is imported here, so that the port costs nothing to whoever only needs its words.
"""
