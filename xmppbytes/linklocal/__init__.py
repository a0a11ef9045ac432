"""
XEP-0174 serverless messaging: presence by DNS-SD, XML streams between neighbours.
"""
