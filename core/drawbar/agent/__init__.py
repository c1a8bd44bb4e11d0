"""The remote side: what runs on a host, and what both sides must agree on (frames, payloads, how a value is encoded).

It travels as a zip under the name `drawbar_agent`: Python 3.9, the standard library and relative imports only.
"""
