"""
Tests against software that other people wrote. Run them by C{make interop}, which makes them a network
namespace of their own (labns.sh).

  case.py        the base of every test, what it needs from the machine, when it is skipped
  processes.py   a child process with a folder, a log and a leash (leash.py)
  servers.py     Prosody, ejabberd; with TLS by authority.py
  services.py    what is under test: services of twistd
  peer.py        a client that takes commands and reports events as lines of JSON
  clients.py     Slixmpp (bytestreams, any request), and the file-transfer clients Purple, Qxmpp, Libervia
                 and SlixmppSi, whose drivers are in the folder peers
  transfers.py   one client sends a file to another
  stream.py      seeded streams and their digests
  socks.py       one bare party of a bytestream

XMPPBYTES_KEEP=1 leaves the folders of the child processes in /tmp, to be looked at.
"""
