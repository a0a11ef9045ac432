"""
C{xmppbytes chat}: a terminal for the people on the local network, on the control socket of
C{twistd linklocal}.
"""
