# Shared by the scripts of hw-sim/ and tests/: where things are, how to wait, how to speak. Source it; it sets nothing else.
# shellcheck shell=bash

SIGNET_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Builds go to SIGNET_BUILD, by default build/ in the checkout, or the cache folder where the checkout is read-only.
if [ -z "${SIGNET_BUILD:-}" ]; then
    if [ -w "$SIGNET_SOURCE" ]; then
        SIGNET_BUILD=$SIGNET_SOURCE/build
    else
        SIGNET_BUILD=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/signet/build
    fi
fi
export SIGNET_SOURCE SIGNET_BUILD

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
    warn "${0##*/}: $*"
    exit 1
}

# pause: a few hundredths of a second, between two looks at a condition. It sets $!, as every wait_until does.
pause() { read -rt 0.02 <> <(:) || true; }

# wait_until SECONDS COMMAND...: runs COMMAND until it succeeds; fails when SECONDS have passed.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        pause
    done
}

# process_is_gone PID: it ended, or only waits to be reaped by its parent. Its first thread may have ended before others,
# which have its files still.
process_is_gone() {
    local state tasks
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || true
    tasks=("/proc/$1/task/"*)
    [ -z "$state" ] || { [ "$state" = Z ] && [ ${#tasks[@]} -le 1 ]; }
}

# stop_process PID [SIGNAL]: ends it and waits; after ten seconds by force.
stop_process() {
    process_is_gone "$1" && return 0
    kill "-${2:-TERM}" "$1" 2>/dev/null || return 0
    wait_until 10 process_is_gone "$1" && return 0
    kill -KILL "$1" 2>/dev/null || true
    wait_until 10 process_is_gone "$1"
}

# as_root COMMAND...: as root, by sudo where this user is another.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root is needed to run: $* ; become root or install sudo"
    fi
}
