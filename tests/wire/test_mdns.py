"""
Tests for L{xmppbytes.wire.mdns} and L{xmppbytes.wire.dnsdata}.
"""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns
from twisted.trial.unittest import TestCase

from xmppbytes.errors import WireError
from xmppbytes.wire.dnsdata import (
    Service,
    addressOf,
    addressRecord,
    denialRecord,
    nullRecord,
    pointerOf,
    pointerRecord,
    serviceOf,
    serviceRecord,
    textRecord,
)
from xmppbytes.wire.mdns import (
    MAX_QUESTIONS,
    MAX_RECORDS,
    NSEC,
    Message,
    Question,
    Record,
    checkName,
    decodeName,
    encodeName,
    fold,
)
from xmppbytes.wire.mdnspack import pack
from xmppbytes.wire.txt import decodePairs

SERVICE = (b"_presence", b"_tcp", b"local")
INSTANCE = ("f\u00e9.last name@pronto".encode(), *SERVICE)
HOST = (b"pronto", b"local")

# What avahi 0.8 announces for libpurple 2.14.12: the names in PTR and SRV data are compressed.
AVAHI = bytes.fromhex(
    "0000840000000006000000000d6a756c6965744070726f6e746f095f70726573656e6365045f746370056c6f63616c00"
    "001080010000119400832d706873683d3435393737656635336138353930646632643431643733653666346261626534"
    "37653639323632320476633d210b7665723d322e31342e31320e6e6f64653d6c6962707572706c650c7374617475733d"
    "617661696c0e706f72742e7032706a3d35353632056c6173743d083173743d726f6f7409747874766572733d31c01a00"
    "0c0001000011940002c00cc00c0021800100000078000f0000000015ba0670726f6e746fc029c0dd001c800100000078"
    "0010fe800000000000002857c0fffe69e039c0dd00018001000000780004a9fe0701095f7365727669636573075f646e"
    "732d7364045f756470c029000c0001000011940002c01a"
)

labels = st.binary(min_size=1, max_size=63)
names = st.lists(labels, max_size=3).map(tuple)
ttls = st.integers(0, 2**31 - 1)
records = st.one_of(
    st.builds(Record, names, st.just(dns.PTR), ttls, names.map(encodeName), st.booleans()),
    st.builds(
        Record, names, st.just(dns.SRV), ttls, names.map(lambda n: b"\0\0\0\0\x15\xba" + encodeName(n))
    ),
    st.builds(Record, names, st.sampled_from([dns.TXT, dns.NULL, dns.A, 99]), ttls, st.binary(max_size=300)),
)
questions = st.builds(Question, names, st.integers(0, 65535), st.booleans())
messages = st.builds(
    Message,
    st.booleans(),
    st.lists(questions, max_size=4).map(tuple),
    st.lists(records, max_size=6).map(tuple),
    st.lists(records, max_size=3).map(tuple),
    st.lists(records, max_size=3).map(tuple),
    st.just(False),
    st.integers(0, 65535),
)


def raw(*parts, flags=0x8400, counts=(0, 1, 0, 0)):
    """
    Make a datagram by hand.
    """
    head = b"\0\0" + flags.to_bytes(2, "big") + b"".join(count.to_bytes(2, "big") for count in counts)
    return head + b"".join(parts)


class CodecTests(TestCase):
    """
    Messages to bytes and back.
    """

    @given(messages)
    def test_roundTrip(self, message):
        """
        Every message is read as it was written.
        """
        [datagram] = pack(message, 65535)
        self.assertEqual(Message.parse(datagram), message)

    @given(st.binary(max_size=600))
    def test_anyBytes(self, data):
        """
        Bytes of any kind are a message or a WireError, never another exception.
        """
        for candidate in (data, raw(data, counts=(1, 1, 1, 1))):
            try:
                Message.parse(candidate)
            except WireError:
                pass

    @given(messages, st.integers(0, 2**32))
    def test_mutated(self, message, seed):
        """
        A message with some bytes changed is a message or a WireError, never another exception.
        """
        random = Random(seed)
        [datagram] = pack(message, 65535)
        for _ in range(200):
            mutant = bytearray(datagram)
            for _ in range(random.randint(1, 4)):
                mutant[random.randrange(len(mutant))] = random.choice((0, 0xC0, 0xFF, random.randrange(256)))
            try:
                Message.parse(bytes(mutant[: random.randint(1, len(mutant))]))
            except WireError:
                pass

    @given(messages)
    def test_cutShort(self, message):
        """
        A message of which bytes are missing is refused.
        """
        [datagram] = pack(message, 65535)
        for end in range(0, len(datagram), 7):
            self.assertRaises(WireError, Message.parse, datagram[:end])

    def test_avahi(self):
        """
        An answer of avahi, compressed by another encoder, is read with its names whole.
        """
        text, pointer, service, ipv6, ipv4, kind = Message.parse(AVAHI).answers
        instance = (b"juliet@pronto", *SERVICE)
        self.assertEqual(decodePairs(text.data)["status"], "avail")
        self.assertEqual(pointerOf(pointer), instance)
        self.assertEqual((service.name, serviceOf(service)), (instance, Service(HOST, 5562)))
        self.assertEqual((addressOf(ipv6), addressOf(ipv4)), ("fe80::2857:c0ff:fe69:e039", "169.254.7.1"))
        self.assertEqual([r.flush for r in (text, pointer, service, ipv4)], [True, False, True, True])
        self.assertEqual(kind.name, (b"_services", b"_dns-sd", b"_udp", b"local"))

    def test_trailingBytes(self):
        """
        Bytes behind the last record make the message invalid.
        """
        self.assertRaises(WireError, Message.parse, AVAHI + b"x")

    def test_compression(self):
        """
        A name that was written before is referred to, whatever its labels hold.
        """
        [datagram] = pack(Message(True, answers=(pointerRecord(SERVICE, INSTANCE),) * 2), 1440)
        self.assertEqual(datagram.count(b"_presence"), 1)
        self.assertEqual(datagram.count(INSTANCE[0]), 1)

    def test_opcode(self):
        """
        A message with an opcode or rcode is none of ours.
        """
        for flags in (0x2800, 0x8403):
            self.assertRaises(WireError, Message.parse, raw(flags=flags, counts=(0, 0, 0, 0)))

    def test_counts(self):
        """
        More questions or records than any datagram needs are refused before any is read.
        """
        for counts in ((MAX_QUESTIONS + 1, 0, 0, 0), (0, MAX_RECORDS, 1, 0)):
            with self.assertRaises(WireError) as caught:
                Message.parse(raw(counts=counts))
            self.assertIn("more than", str(caught.exception))

    def test_tooLong(self):
        """
        More bytes than a datagram holds are refused.
        """
        self.assertRaises(WireError, Message.parse, bytes(65536))

    def test_hugeTimeToLive(self):
        """
        A time to live with the top bit set counts as 0 (RFC 2181).
        """
        data = raw(b"\1a\0", b"\0\x10\0\1\x80\0\0\0\0\1\0")
        self.assertEqual(Message.parse(data).answers[0].ttl, 0)


class NameTests(TestCase):
    """
    Names on the wire.
    """

    def refuse(self, name, reason):
        with self.assertRaises(WireError) as caught:
            Message.parse(raw(name, b"\0\x0c\0\1", counts=(1, 0, 0, 0)))
        self.assertIn(reason, str(caught.exception))

    def test_pointerToItself(self):
        """
        A name that points to itself is refused.
        """
        self.refuse(b"\xc0\x0c", "to itself")

    def test_pointerForwards(self):
        """
        A name that points forwards is refused.
        """
        self.refuse(b"\xc0\x0e\1a\0", "forwards")

    def test_loop(self):
        """
        A name that points into itself behind a label is refused.
        """
        self.refuse(b"\1a\xc0\x0c", "forwards")

    def test_manyPointers(self):
        """
        A chain of too many pointers is refused.
        """
        chain = (
            b"\0"
            + b"\xc0\x0c"
            + b"".join((0xC000 | 12 + 1 + 2 * index).to_bytes(2, "big") for index in range(40))
        )
        data = raw(b"\x51" + chain, counts=(1, 0, 0, 0))
        self.assertRaises(WireError, Message.parse, data)

    def test_longLabel(self):
        """
        The two undefined kinds of label are refused.
        """
        self.refuse(b"\x40" + bytes(0x40), "label")
        self.refuse(b"\x80a\0", "label")

    def test_longName(self):
        """
        A name of more than 255 bytes is refused.
        """
        self.refuse((b"\x3f" + b"a" * 63) * 4 + b"\0", "255")

    def test_nameOverItsData(self):
        """
        A name in record data must end in the data.
        """
        data = raw(b"\1a\0", b"\0\x0c\0\1\0\0\0\1\0\1", b"\1a\0")
        self.assertRaises(WireError, Message.parse, data)

    def test_dataTooLong(self):
        """
        A PTR record with something behind its name is refused.
        """
        data = raw(b"\1a\0", b"\0\x0c\0\1\0\0\0\1\0\4", b"\1a\0x")
        self.assertRaises(WireError, Message.parse, data)

    def test_dataTooShort(self):
        """
        An SRV record without a target is refused.
        """
        data = raw(b"\1a\0", b"\0\x21\0\1\0\0\0\1\0\4", b"\0\0\0\0")
        self.assertRaises(WireError, Message.parse, data)

    def test_fold(self):
        """
        Only ASCII letters are compared without case.
        """
        self.assertEqual(fold((b"Rom\xc3\x89O", b"Local")), (b"rom\xc3\x89o", b"local"))

    def test_checkName(self):
        """
        Names that cannot be sent are a ValueError.
        """
        self.assertEqual(checkName(HOST), HOST)
        for name in ((b"",), (b"a" * 64,), (b"a" * 63,) * 4):
            self.assertRaises(ValueError, checkName, name)

    @given(st.binary(max_size=80))
    def test_decodeName(self, data):
        """
        Bytes of any kind are a name or a WireError.
        """
        try:
            name, end = decodeName(data)
        except WireError:
            return
        self.assertEqual(encodeName(name), data[:end])


class PackTests(TestCase):
    """
    Messages that need more than one datagram.
    """

    def test_knownAnswers(self):
        """
        A long list of known answers is spread; all but the last datagram say that more follow.
        """
        known = tuple(pointerRecord(SERVICE, (b"user%d@host" % n, *SERVICE)) for n in range(200))
        datagrams = pack(Message(questions=(Question(SERVICE, dns.PTR),), answers=known), 1440)
        parsed = [Message.parse(datagram) for datagram in datagrams]
        self.assertTrue(all(len(datagram) <= 1440 for datagram in datagrams))
        self.assertEqual([message.truncated for message in parsed], [True] * (len(parsed) - 1) + [False])
        self.assertEqual(len(parsed[1].questions), 0)
        self.assertEqual(tuple(record for message in parsed for record in message.answers), known)

    def test_responses(self):
        """
        Responses are spread without saying so.
        """
        answers = tuple(textRecord((b"user%d" % n, *SERVICE), bytes(500)) for n in range(5))
        parsed = [Message.parse(datagram) for datagram in pack(Message(True, answers=answers), 1440)]
        self.assertEqual([message.truncated for message in parsed], [False] * len(parsed))
        self.assertEqual(tuple(record for message in parsed for record in message.answers), answers)

    def test_hugeRecord(self):
        """
        A record that is longer than a datagram should be gets one of its own.
        """
        icon = nullRecord(INSTANCE, bytes(60000))
        datagrams = pack(Message(True, answers=(addressRecord(HOST, "10.0.0.1"), icon)), 1440)
        self.assertEqual([len(Message.parse(datagram).answers) for datagram in datagrams], [1, 1])

    def test_additionals(self):
        """
        Additional records that do not fit are left out.
        """
        message = Message(True, answers=(textRecord(INSTANCE, bytes(1300)),))
        extra = (textRecord(HOST, bytes(200)), addressRecord(HOST, "10.0.0.1"))
        [datagram] = pack(Message(True, answers=message.answers, additionals=extra), 1440)
        self.assertEqual(Message.parse(datagram).additionals, extra[1:])

    def test_farNames(self):
        """
        Names beyond the reach of a pointer are written out.
        """
        answers = (nullRecord(HOST, bytes(0x4000)), pointerRecord(SERVICE, INSTANCE)) * 2
        [datagram] = pack(Message(True, answers=answers), 65535)
        self.assertEqual(Message.parse(datagram).answers, answers)


class DataTests(TestCase):
    """
    The data of records.
    """

    def test_addresses(self):
        """
        Addresses are read as they were written, without their scope.
        """
        for address, kind in (("169.254.7.1", dns.A), ("fe80::1%eth0", dns.AAAA)):
            record = addressRecord(HOST, address)
            self.assertEqual((record.type, addressOf(record)), (kind, address.partition("%")[0]))

    def test_badAddress(self):
        """
        An address of a wrong length is refused.
        """
        for kind in (dns.A, dns.AAAA):
            self.assertRaises(WireError, addressOf, Record(HOST, kind, 120, b"abc"))

    def test_service(self):
        """
        A service is read as it was written.
        """
        service = Service(HOST, 5298, 1, 2)
        self.assertEqual(serviceOf(serviceRecord(INSTANCE, service)), service)
        self.assertRaises(WireError, serviceOf, Record(INSTANCE, dns.SRV, 1, b"123456"))

    def test_denial(self):
        """
        An NSEC record is written as RFC 6762 section 6.1 shows.
        """
        record = denialRecord(HOST, [dns.A, dns.AAAA])
        self.assertEqual(record.data, encodeName(HOST) + b"\0\x04\x40\0\0\x08")
        self.assertEqual(record.type, NSEC)

    def test_questions(self):
        """
        A question asks for a record by name, type and class, any of the latter two included.
        """
        record = addressRecord(HOST, "10.0.0.1")
        self.assertTrue(Question((b"PRONTO", b"local"), dns.A).asksFor(record))
        self.assertTrue(Question(HOST, dns.ALL_RECORDS, cls=dns.ANY).asksFor(record))
        self.assertFalse(Question(HOST, dns.AAAA).asksFor(record))
        self.assertFalse(Question(HOST, dns.A, cls=dns.CH).asksFor(record))
        self.assertFalse(Question(INSTANCE, dns.A).asksFor(record))
