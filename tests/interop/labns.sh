#!/bin/sh
# labns.sh COMMAND...: run a command in a network namespace of its own, with lo and a veth pair that has
# 10.65.0.1 and 10.65.0.2: real clients offer no loopback address to each other. Nothing gets out of it,
# and all ports are free in it. Needs root, or a kernel that lets users make namespaces.
if [ -z "$XMPPBYTES_LABNS" ]; then
    export XMPPBYTES_LABNS=1
    [ "$(id -u)" = 0 ] || map=--map-root-user
    if unshare $map --net true 2>/dev/null; then
        exec unshare $map --net "$0" "$@"
    fi
    echo "labns.sh: cannot make a network namespace; going on without (tests that need it say so)" >&2
    exec "$@"
fi
set -e
ip link set lo up
ip link add lab0 type veth peer name lab1
ip addr add 10.65.0.1/24 dev lab0
ip addr add 10.65.0.2/24 dev lab0
ip link set lab0 up
ip link set lab1 up
exec "$@"
