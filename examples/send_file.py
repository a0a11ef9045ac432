"""
Send a file to somebody.
PASSWORD=... python examples/send_file.py alice@example.org/desk bob@example.org/laptop FILE
"""

import os
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.words.protocols.jabber.jid import JID

from xmppbytes.account import Account, AccountSettings
from xmppbytes.filetransfer.send import sendFile
from xmppbytes.filetransfer.stack import addFileTransfer


def main(reactor, jid, to, path):
    server = os.environ.get("SERVER")  # HOST:PORT of a server in a lab, which needs no encryption
    settings = AccountSettings(jid=JID(jid), password=os.environ["PASSWORD"], server=server, tls=not server)
    account = Account(reactor, settings)
    initiation = addFileTransfer(reactor, account.manager)

    async def send():
        await account.connect()
        report = await sendFile(reactor, initiation, to, Path(path))
        print(f"sent {report.size} bytes, {report.route}, SHA-256 {report.sha256}")
        await account.disconnect()

    return Deferred.fromCoroutine(send())


react(main, sys.argv[1:])
