"""
Stream initiation on XMPP (XEP-0095), for files (XEP-0096): offers and answers, and why they ended.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed
from twisted.logger import Logger
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco, iwokkel
from xmppbytes.errors import LimitReached, NegotiationError, NotReachable, Refused, TransferError
from xmppbytes.filetransfer.methods import StreamMethods
from xmppbytes.filetransfer.names import printable
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.stanzas import (
    NS_FILE,
    NS_SI,
    Acceptance,
    Initiation,
    abortMessage,
    conditionElement,
    errorText,
    readAbort,
)
from xmppbytes.filetransfer.storage import DiskFull
from xmppbytes.rooms import Rooms
from xmppbytes.s5b.stanzas import MAX_SID
from xmppbytes.stanza import Request, RequestHandler

# Seconds that the other side, which may have to ask a person, has to answer an offer.
ANSWER_TIMEOUT = 300.0
# Offers to us that are not decided or not finished yet: in all, and from one account, or one occupant of
# a room.
MAX_TRANSFERS = 100
MAX_TRANSFERS_PER_ACCOUNT = 10

# Decides about an offer: gets sender, own address and the offer, and returns a Deferred of the Acceptance.
Decide = Callable[[str, str, Initiation], "Deferred[Acceptance]"]


@implementer(iwokkel.IDisco)
class StreamInitiationHandler(RequestHandler):
    """
    Negotiates what is to be sent, and by which method.

    @ivar decide: what is asked about offers to us; C{None}: all are refused.
    """

    log = Logger()
    requests = {("set", NS_SI, "si"): "onInitiation"}

    def __init__(self, methods: StreamMethods) -> None:
        """
        @param methods: what is offered and accepted.
        """
        super().__init__()
        self.methods = methods
        self.decide: Decide | None = None
        self._running: dict[tuple[str, str], Callable[[str], None]] = {}
        self._incoming: set[tuple[str, str]] = set()
        self._rooms = Rooms()

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler<wokkel.subprotocols.XMPPHandler>}.
        """
        super().connectionInitialized()
        self._rooms.attached(self.xmlstream)
        self.xmlstream.addObserver("/message[@type='error']", self.onError)

    # Our offers.

    async def offer(self, target: str, sid: str, file: FileOffer, timeout: float) -> Acceptance:
        """
        Offer a file, and wait for the answer.

        @param timeout: seconds.
        @raise Refused: when the other side says no.
        @raise NotReachable: when it says nothing.
        """
        initiation = Initiation(sid, NS_FILE, self.methods.namespaces, file)
        request = Request(target, "set", initiation.toElement())
        # libpurple refuses with the sid for an id: with one and the same its refusal can be told.
        request.stanzaID = sid
        request.timeout = timeout
        try:
            answer = await self.request(request)
            acceptance = Acceptance.fromElement(answer.firstChildElement())
        except StanzaError as e:
            raise _refusal(target, e) from e
        except RequestTimeout as e:
            self.tell(target, sid, "remote-server-timeout", "the offer was not answered in time")
            raise NotReachable(f"{target} has not answered within {timeout:g} s; try again later") from e
        except ConnectionClosed as e:
            raise NotReachable(f"the offer was lost on its way to {target} ({e}); try again") from e
        except ValueError as e:
            raise NegotiationError(f"{target} gave an answer that makes no sense: {e}") from e
        if acceptance.method not in self.methods.namespaces:
            raise NegotiationError(
                f"{target} chose a stream method that was not offered ({printable(acceptance.method)})"
            )
        return acceptance

    # Offers to us.

    def onInitiation(self, iq: Element) -> "Deferred[Element]":
        """
        Section 3.2: somebody offers something.
        """
        initiation = Initiation.fromElement(iq.firstChildElement())
        sender = iq.getAttribute("from", "")
        self._check(sender, initiation)
        if self.decide is None:
            raise StanzaError("forbidden", text="Offer Declined: no files are received here at present")
        key = (sender, initiation.sid)
        self._incoming.add(key)
        try:
            decision = self.decide(sender, iq.getAttribute("to", ""), initiation)
        except BaseException:
            self._incoming.discard(key)
            raise
        return decision.addCallbacks(lambda acceptance: acceptance.toElement(), self._declined)

    def _check(self, sender: str, initiation: Initiation) -> None:
        if initiation.profile != NS_FILE:
            raise StanzaError("bad-request", appCondition=conditionElement("bad-profile"))
        if initiation.file is None or not initiation.sid or not sender:
            raise StanzaError("bad-request", text="a file offer has an id, and a file with name and size")
        if len(initiation.sid) > MAX_SID:
            raise StanzaError("bad-request", text=f"the id is longer than {MAX_SID} characters")
        if self.methods.pick(initiation.methods) is None:
            raise StanzaError(
                "bad-request",
                text=f"only {' and '.join(self.methods.namespaces)} are supported here",
                appCondition=conditionElement("no-valid-streams"),
            )
        if (sender, initiation.sid) in self._incoming:
            raise StanzaError("conflict", text="an offer with this id is there already")
        senders = [peer for peer, _ in self._incoming]
        tooMany = self._rooms.tooMany(sender, senders, MAX_TRANSFERS_PER_ACCOUNT)
        if tooMany or len(senders) >= MAX_TRANSFERS:
            raise StanzaError("resource-constraint", type="wait", text="too many offers at once; wait")

    def _declined(self, failure: Any) -> Any:
        if failure.check(DiskFull):
            # How much room there is concerns nobody but us.
            raise StanzaError("resource-constraint", type="wait", text="there is no room for this file")
        if failure.check(LimitReached):
            raise StanzaError("resource-constraint", type="wait", text=str(failure.value))
        if failure.check(TransferError):
            raise StanzaError("internal-server-error", text="the file cannot be stored here")
        if failure.check(Refused, CancelledError):
            # Word for word as in XEP-0095: clients show it.
            raise StanzaError("forbidden", text="Offer Declined")
        return failure

    # While a transfer runs.

    def watch(self, peer: str, sid: str, aborted: Callable[[str], None]) -> None:
        """
        Be told when the other side says why a transfer ends early.

        @param aborted: called with the reason.
        """
        self._running[peer, sid] = aborted

    def unwatch(self, peer: str, sid: str) -> None:
        """
        The transfer is over.
        """
        self._running.pop((peer, sid), None)
        self._incoming.discard((peer, sid))

    def tell(self, peer: str, sid: str, condition: str, text: str) -> None:
        """
        Tell the other side why a transfer ends early.

        @param condition: a stanza error condition.
        @param text: why, for a person.
        """
        if self.xmlstream is not None:
            self.send(abortMessage(peer, sid, condition, text))

    def onError(self, message: Any) -> None:
        """
        Perhaps the other side tells why it ends a transfer.
        """
        told = readAbort(message)
        if told is None or message.handled:
            return
        sid, text = told
        aborted = self._running.get((message.getAttribute("from", ""), sid))
        if aborted is not None:
            message.handled = True
            aborted(printable(text, 200))

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        Section 3.1, see L{iwokkel.IDisco}.
        """
        return [] if nodeIdentifier else [disco.DiscoFeature(NS_SI), disco.DiscoFeature(NS_FILE)]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []


def _refusal(target: str, error: StanzaError) -> NegotiationError:
    if error.condition in ("forbidden", "not-acceptable", "not-allowed"):
        return Refused(f"{target} declined the file: {errorText(error)}")
    if error.condition in ("service-unavailable", "recipient-unavailable", "item-not-found"):
        return NotReachable(f"{target} is not online, or cannot receive files ({error.condition})")
    return Refused(f"{target} does not accept the file: {errorText(error)}")
