"""
XEP-0046 DTCP, direct TCP connections between two entities, and the relay proposed for it.
"""
