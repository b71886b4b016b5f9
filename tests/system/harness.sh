# What a system test needs. A test is a short script named after a behaviour:
#     . "$(dirname "$0")/harness.sh"
#     in_lab "$@"                # from here on inside a lab of its own; arguments of hw-sim/lab may be given
# It fails by exiting with anything but 0; exit 77 with a last line that says why means "cannot run here".
# shellcheck shell=bash
set -euo pipefail
output= # of the last expect
# shellcheck source=hw-sim/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../hw-sim/lab.sh"

# in_lab [LAB-OPTIONS...]: runs this very script again inside a lab.
in_lab() {
    [ -n "${LAB_DIR:-}" ] || exec "$SIGNET_SOURCE/hw-sim/lab" "$@" -- "$0"
}

# in_folder: a fresh folder WORK for tests without a lab, removed at the end.
in_folder() {
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/signet-test.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    PATH=$SIGNET_BUILD/agent:$SIGNET_BUILD/client:$PATH
}

fail() {
    warn "FAIL: $*"
    [ -z "${LAB_DIR:-}" ] || [ ! -f "$LAB_DIR/signetd.log" ] || tail -n 40 "$LAB_DIR/signetd.log" >&2
    exit 1
}

skip() {
    say "$*"
    exit 77
}

# expect STATUS PATTERN COMMAND...: the command's exit status, and an extended regular expression in its output.
expect() {
    local wanted=$1 pattern=$2 status=0
    shift 2
    output=$("$@" 2>&1 </dev/null) || status=$?
    [ "$status" = "$wanted" ] || fail "exit $status, not $wanted, of: $* ; it said: $output"
    grep -Eq -- "$pattern" <<<"$output" || fail "nothing like '$pattern' in what '$*' said: $output"
}

# expect_same WHAT A B
expect_same() { [ "$2" = "$3" ] || fail "$1: '$2' is not '$3'"; }

agent_log_has() { grep -Eq -- "$1" "$LAB_DIR/signetd.log"; }
# wait_for_log PATTERN: in the agent's log, within 20 seconds.
wait_for_log() { wait_until "${2:-20}" agent_log_has "$1" || fail "signetd's log has nothing like '$1'"; }

# needs_root: many troubles (other users, mounts, clocks) can only be made by root.
needs_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# as_user COMMAND...: as the user nobody, who may not be able to look into the folder of the build.
as_user() {
    local nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
    if ! "${nobody[@]}" test -x "$(command -v signet)"; then
        mkdir -p "$LAB_DIR/programs"
        cp -n "$(command -v signet)" "$LAB_DIR/programs"
        PATH=$LAB_DIR/programs:$PATH
    fi
    "${nobody[@]}" "$@"
}

# identities: "SPIFFE-ID serial" of each X.509-SVID of this process, a line each.
identities() { signet --output json svid fetch x509 | jq -r '.svids[] | .spiffe_id + " " + .serial'; }
serial_of() { identities | sed -n "s|^$1 ||p"; }
has_identity() { identities 2>/dev/null | grep -q "^$1 "; }
has_no_identity() { ! has_identity "$1"; }

# What the agent holds, for counting before and after trouble.
agent_threads() { find "/proc/$(lab_agent_pid)/task" -mindepth 1 -maxdepth 1 | wc -l; }
agent_descriptors() { find "/proc/$(lab_agent_pid)/fd" -mindepth 1 -maxdepth 1 | wc -l; }
agent_memory_kb() { sed -n 's/^RssAnon:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$(lab_agent_pid)/status"; }
# Sanitizers hold freed memory back, so that its size tells nothing.
agent_is_sanitized() { grep -aqE '__(asan|tsan)_init' "$(command -v signetd)"; }
# tpm_handles transient|loaded-session: how many the TPM holds, seen past a proxy.
tpm_handles() { TPM2TOOLS_TCTI=$(lab_tcti_direct) tpm2_getcap "handles-$1" | wc -l; }

# expect_no_leak THREADS DESCRIPTORS MEMORY_KB: the agent holds no more than before, within a short while.
holds_at_most() { [ "$(agent_threads)" -le "$1" ] && [ "$(agent_descriptors)" -le "$2" ]; }
expect_no_leak() {
    wait_until 20 holds_at_most "$1" "$2" ||
        fail "threads: $1 before, $(agent_threads) now; descriptors: $2 before, $(agent_descriptors) now"
    agent_is_sanitized || [ "$(agent_memory_kb)" -le $(($3 + 4096)) ] ||
        fail "memory in KiB: $3 before, $(agent_memory_kb) now"
}
