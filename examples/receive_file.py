"""
Receive one file from a friend into the current folder.
PASSWORD=... python examples/receive_file.py bob@example.org/laptop alice@example.org
"""

import os
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.words.protocols.jabber.jid import JID

from xmppbytes.account import Account, AccountSettings
from xmppbytes.filetransfer.receiveone import receiveFile
from xmppbytes.filetransfer.stack import addFileTransfer


def main(reactor, jid, friend):
    server = os.environ.get("SERVER")  # HOST:PORT of a server in a lab, which needs no encryption
    settings = AccountSettings(jid=JID(jid), password=os.environ["PASSWORD"], server=server, tls=not server)
    account = Account(reactor, settings)
    initiation = addFileTransfer(reactor, account.manager)

    def isFromFriend(incoming):
        return JID(incoming.sender).userhost() == friend

    async def receive():
        received = receiveFile(reactor, initiation, Path(), isFromFriend)
        print(f"{(await account.connect()).full()} is ready", flush=True)
        report = await received
        print(f"received {report.path}, {report.route}, SHA-256 {report.sha256}")
        await account.disconnect()

    return Deferred.fromCoroutine(receive())


react(main, sys.argv[1:])
