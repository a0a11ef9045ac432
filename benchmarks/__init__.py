"""
How fast the relay is, beside Prosody, ejabberd, haproxy and a relay in C, on this machine's loopback.

    python -m benchmarks            the whole table with its verdicts (about 20 minutes)
    python -m benchmarks --quick    the same with the shortest runs (about 5)
    python -m benchmarks soak       10 minutes of changing load: nothing may grow

docs/performance.md tells what is measured, and how to read it.
"""
