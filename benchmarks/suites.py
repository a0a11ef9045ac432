"""
What is run: every case, who takes part in it, and how often.
"""

from dataclasses import dataclass, field

BULK = ("prosody", "ejabberd", "haproxy", "c-splice", "c-copy", "ours", "ours-copy")
PAIR_BY_PAIR = ("--concurrent", "4")  # ejabberd's backlog is 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    One way to load peers.

    @ivar name: the same in the raw results, the tables and the verdicts.
    @ivar arguments: for the generator.
    @ivar metrics: what its table shows.
    @ivar rounds: how often each peer is loaded, in turns.
    @ivar fresh: each run has a new process of its peer.
    @ivar background: arguments of another generator that loads the peer meanwhile.
    """

    name: str
    arguments: tuple[str, ...]
    peers: tuple[str, ...] = BULK
    metrics: tuple[str, ...] = ("mibs", "cpu_gib", "generator_gib", "fair", "other")
    rounds: int = 3
    fresh: bool = False
    background: tuple[str, ...] = field(default=())


def bulk(pairs: int, both: bool = False, rounds: int = 3, warm: float = 0.4, name: str = "") -> Case:
    """
    As much as can be moved.
    """
    ways = "both ways" if both else "one way"
    arguments = ("--mode", "bulk", "--seconds", "0.8", "--warm", str(warm), "--pairs", str(pairs))
    return Case(
        name=f"bulk, {pairs} {'pair' if pairs == 1 else 'pairs'} {ways}{name}",
        arguments=(*arguments, "--both", str(int(both)), *PAIR_BY_PAIR),
        rounds=rounds,
    )


def sized(size: int, nodelay: bool = False) -> Case:
    """
    Bulk written in pieces of one size.
    """
    return Case(
        name=f"bulk, 10 pairs, {size} byte writes{', no Nagle' if nodelay else ''}",
        arguments=(
            *("--mode", "bulk", "--seconds", "0.8", "--pairs", "10", "--write-size", str(size)),
            *("--nodelay", str(int(nodelay)), *PAIR_BY_PAIR),
        ),
        rounds=2,
    )


def setup(concurrent: int, total: int) -> Case:
    """
    Connect twice, activate over XMPP, one byte through, close.
    """
    return Case(
        name=f"set-up over XMPP, {concurrent} at once",
        arguments=("--mode", "setup", "--total", str(total), "--concurrent", str(concurrent)),
        peers=("prosody", "prosody-nd", "ejabberd", "ours", "ours@prosody-nd", "ours@ejabberd"),
        metrics=("rate", "p50ms", "p99ms", "cpu_us", "other"),
    )


def memory(name: str, *arguments: str) -> Case:
    """
    What the process grows by, for each session or connection.
    """
    return Case(
        name=name,
        arguments=(*arguments, *PAIR_BY_PAIR),
        peers=("prosody", "ejabberd", "haproxy", "c-splice", "ours"),
        metrics=("kib", "base_kib", "descriptors", "slab_kib", "idle_cpu"),
        rounds=1,
        fresh=True,
    )


def ping(pairs: int, rounds: int) -> Case:
    """
    One byte to and fro.
    """
    return Case(
        name=f"round trip, {pairs} {'pair' if pairs == 1 else 'pairs'}",
        arguments=("--mode", "ping", "--pairs", str(pairs), "--rounds", str(rounds), *PAIR_BY_PAIR),
        metrics=("p50us", "p99us", "cpu_us", "rate", "other"),
    )


def verify(both: bool) -> Case:
    """
    Every byte is checked, and every end of stream; after a half-close the other direction as well.
    """
    return Case(
        name=f"exact, {'both ways' if both else 'one way, then half-closed'}",
        arguments=(
            *("--mode", "verify", "--bytes", "3000000", "--pairs", "10", "--both", str(int(both))),
            *PAIR_BY_PAIR,
        ),
        metrics=("received", "wanted", "bad", "failed", "ends", "ends_wanted", "half_closed"),
        rounds=1,
    )


_TOUCHED = ("--mode", "idle", "--pairs", "1000", "--touch", "65536")
WORKED = ("ours-free", "ours-1w", "ours-2w")

# The kernel's own buffers.
DEFAULT = (
    bulk(1, rounds=5),
    bulk(10, rounds=5),
    bulk(100),
    bulk(1, both=True),
    sized(1024, nodelay=True),
    sized(16384),
    sized(1 << 20),
    verify(both=False),
    verify(both=True),
    ping(1, 3000),
    ping(50, 200),
    Case(
        name="round trip beside 20 pairs of bulk",
        arguments=("--mode", "ping", "--rounds", "150", "--timeout", "6"),
        peers=("prosody", "ejabberd", "c-splice", "ours"),
        metrics=("p50us", "p99us", "done"),
        background=("--mode", "bulk", "--pairs", "20", "--seconds", "2", *PAIR_BY_PAIR),
    ),
    setup(1, 300),
    setup(32, 3000),
    memory("memory of an idle session", "--mode", "idle", "--pairs", "2000"),
    memory("memory of an idle session that moved 64 KiB", *_TOUCHED),
    memory("memory of a pending connection", "--mode", "pending", "--single", "1", "--pairs", "4000"),
    Case(
        name="workers, 10 pairs one way, generator and relay unpinned",
        arguments=("--mode", "bulk", "--seconds", "0.8", "--pairs", "10", *PAIR_BY_PAIR),
        peers=WORKED,
    ),
    Case(
        name="workers, set-up, 32 at once",
        arguments=("--mode", "setup", "--total", "1500", "--concurrent", "32"),
        peers=WORKED,
        metrics=("rate", "p50ms", "p99ms", "cpu_us", "other"),
    ),
)

# In a network namespace of its own, where no TCP buffer grows beyond 256 KiB.
SMALL = tuple(
    bulk(*arguments, name=", small buffers")  # type: ignore[arg-type]
    for arguments in (
        (1, False, 5),
        (10, False, 3),
        (100, False, 3),
        (1000, False, 2, 1.5),
        (1, True, 3),
        (100, True, 2),
    )
)

GROUPS = {"default": DEFAULT, "small": SMALL}
