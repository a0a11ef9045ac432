#!/bin/bash
# linklocal_host.sh NETNS HOSTNAME WORKDIR [--no-avahi] -- CMD...
#
# Runs CMD as on a host of its own: inside the network namespace NETNS, with a private /run, its own
# system D-Bus and its own avahi-daemon announcing HOSTNAME.local. All of it ends with this shell.
# Needs root, iproute2, util-linux, and for avahi: dbus avahi-daemon.
set -u
NS=$1 HOST=$2 WORK=$3; shift 3
AVAHI=1; [ "$1" = --no-avahi ] && { AVAHI=0; shift; }
[ "$1" = -- ] && shift
mkdir -p "$WORK"
if [ "${LINKLOCAL_HOST_INNER:-}" != 1 ]; then
  [ $AVAHI = 0 ] && set -- --no-avahi -- "$@" || set -- -- "$@"
  LINKLOCAL_HOST_INNER=1 exec ip netns exec "$NS" unshare --mount --uts --propagation private "$0" "$NS" "$HOST" "$WORK" "$@"
fi
hostname "$HOST"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/dbus /run/avahi-daemon
PIDS=()
cleanup() { for p in "${PIDS[@]}"; do kill "$p" 2>/dev/null; done; wait 2>/dev/null; }
trap cleanup EXIT; trap 'exit 143' TERM INT
if [ $AVAHI = 1 ]; then
  dbus-daemon --system --nofork --nopidfile >"$WORK/dbus.log" 2>&1 & PIDS+=($!)
  for i in $(seq 100); do [ -S /run/dbus/system_bus_socket ] && break; sleep .05; done
  cat > "$WORK/avahi.conf" <<CONF
[server]
host-name=$HOST
use-ipv4=yes
use-ipv6=yes
[wide-area]
enable-wide-area=no
[publish]
publish-hinfo=no
publish-workstation=no
[reflector]
[rlimits]
CONF
  avahi-daemon --no-drop-root --no-chroot --no-rlimits --no-proc-title --debug -f "$WORK/avahi.conf" >"$WORK/avahi.log" 2>&1 & PIDS+=($!)
  for i in $(seq 200); do grep -q "Server startup complete" "$WORK/avahi.log" && break; sleep .05; done
fi
# A background job would get /dev/null as its stdin.
exec 3<&0; "$@" <&3 3<&- & exec 3<&-; C=$!; PIDS+=($C); wait $C; RC=$?
exit $RC
