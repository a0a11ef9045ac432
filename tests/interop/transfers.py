"""
What tests of file transfers between two clients have in common.
"""

from pathlib import Path
from typing import Any

from tests.interop import stream
from tests.interop.case import InteropTestCase


class FileTransferTestCase(InteropTestCase):
    """
    A test in which one L{tests.interop.clients.FileClient} sends a file to another.
    """

    async def pair(self, server: Any, sender: Any, receiver: Any, *senderOptions: str) -> tuple[Any, Any]:
        """
        Log romeo, who sends, and juliet, who receives, in.

        @param sender: the class of romeo's client.
        @param receiver: the class of juliet's client.
        """
        juliet = await self.launch(receiver(self.reactor, server, "juliet"))
        romeo = await self.launch(sender(self.reactor, server, "romeo", *senderOptions))
        await romeo.untilSees(juliet)
        return romeo, juliet

    async def send(self, romeo: Any, juliet: Any, size: int) -> None:
        """
        Let romeo send a file, and see that juliet gets it whole.
        """
        path = Path(self.mktemp())
        digest = stream.write(str(path), self.id(), size)
        romeo.offer(juliet.jid, path)
        saved = await juliet.untilSaved()
        self.assertEqual(saved["event"], "file-saved", saved)
        self.assertEqual((saved["size"], saved["sha256"]), (size, digest))
        self.assertEqual((await romeo.untilSent())["event"], "file-send-complete")
