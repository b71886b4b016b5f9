# What the cases of PKCS#11 clients share: identities in hardware, a peer for mutual TLS, and the lines of docs/clients.md and
# docs/helper.md.
# A case never repeats configuration that the page shows: it takes the page's block and fills in where things are.
# shellcheck shell=bash
# shellcheck source=tests/system/harness.sh
. "$(dirname "${BASH_SOURCE[0]}")/../system/harness.sh"

: "${SIGNET_INTEROP:=$SIGNET_BUILD/interop}"
interop=$SIGNET_SOURCE/tests/interop
page=$SIGNET_SOURCE/docs/clients.md
identities=(tpm-ec tpm-rsa hsm-ec hsm-rsa)
life=60s
port=      # of what was started last
started=() # processes to end
module=$(find /usr/lib /usr/lib64 -path '*/pkcs11/p11-kit-client.so' 2>/dev/null | head -n 1)

has_provider() { [ -e "$(openssl version -m | sed 's/.*"\(.*\)"/\1/')/pkcs11.so" ]; }

needs_engine() { openssl engine pkcs11 >/dev/null 2>&1 || skip "OpenSSL's pkcs11 engine is not here; hw-sim/setup interop installs it"; }

# in_pkcs11_lab: from here on in a lab in which this user has the four identities.
in_pkcs11_lab() {
    in_lab --conf "$interop/pkcs11.conf"
    [ -n "$module" ] || fail "p11-kit-client.so is not here; run hw-sim/setup run"
    trap stop_started EXIT
    svids=$LAB_DIR/svids
    local name
    for name in "${identities[@]}"; do
        add_entry "$name" --x509-svid-ttl "$life" --dns localhost >"$LAB_DIR/$name.entry"
    done
    wait_until 60 has_all || fail "not every identity has an SVID within a minute: $(cat "$LAB_DIR/svids.json")"
}

has_all() {
    fetch
    local name
    for name in "${identities[@]}" peer; do [ -f "$svids/$name/svid.0.pem" ] || return; done
}

# A case whose software needs another entry has its own of these two.
# add_entry NAME OPTIONS...: prints the entry's id.
add_entry() {
    signet --output json entry add --spiffe-id "spiffe://example.org/interop/$1" --selector "unix:uid:$(id -u)" "${@:2}" | jq -r .id
}
# as_owner COMMAND...: as a process that has the identities.
as_owner() { "$@"; }

remove_entries() {
    local name
    for name in "${identities[@]}"; do signet entry remove --id "$(cat "$LAB_DIR/$name.entry")" >/dev/null; done
}

# fetch [NAME]: what "signet svid fetch x509 --write" gives to a process with one identity, in a folder for each,
# $svids/NAME: of all, or of this one alone.
fetch() {
    local index id
    mkdir -p "$svids/all"
    chmod 777 "$svids/all"
    as_owner signet --output json svid fetch x509 --write "$svids/all" >"$LAB_DIR/svids.json"
    while read -r index id; do
        [ -z "${1:-}" ] || [ "$1" = "${id##*/}" ] || continue
        mkdir -p "$svids/${id##*/}"
        copy_svid "$svids/all" "$index" "$svids/${id##*/}"
    done < <(jq -r '.svids | to_entries[] | "\(.key) \(.value.spiffe_id)"' "$LAB_DIR/svids.json")
}

copy_svid() {
    local file
    for file in svid.pem bundle.pem svid.key svid.uri; do
        [ ! -f "$1/${file%.*}.$2.${file##*.}" ] || cp "$1/${file%.*}.$2.${file##*.}" "$3/${file%.*}.0.${file##*.}"
    done
}

serial_of_file() { openssl x509 -in "$svids/$1/svid.0.pem" -noout -serial; }
serials() { for name in "${identities[@]}"; do serial_of_file "$name"; done; }

have_all_rotated() {
    fetch
    [ -z "$(comm -12 <(serials | sort) <(sort "$LAB_DIR/serials"))" ] || { read -rt 0.3 <> <(:) || false; }
}

# wait_for_rotation: each identity has another key and certificate than in $svids, which are now in $LAB_DIR/before.
wait_for_rotation() {
    rm -rf "$LAB_DIR/before"
    cp -r "$svids" "$LAB_DIR/before"
    serials >"$LAB_DIR/serials"
    wait_until 120 have_all_rotated || fail "not every SVID was renewed within two minutes: $(cat "$LAB_DIR/svids.json")"
}

# block_as_written NAME: the lines of the block of that name of one of the two pages.
block_as_written() { awk -v name="$1" '/^```/ { inside = $2 == name; next } inside' "$page" "$SIGNET_SOURCE/docs/helper.md"; }

# block NAME [IDENTITY]: the same in the lab's terms.
block() {
    local text
    text=$(block_as_written "$1" | sed \
        -e "s|/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so|$module|g" \
        -e "s|/run/signet/pkcs11.sock|$LAB_DIR/run/pkcs11.sock|g" \
        -e "s|payments%2Fapi|interop%2F${2:-}|g" -e "s|payments/api|interop/${2:-}|g" \
        -e "s|/run/payments|$svids/${2:-}|g" -e "s|/etc/payments|$LAB_DIR|g" \
        -e "s|/run/nginx.pid|$LAB_DIR/nginx.pid|g" -e "s|ledger.example.org|localhost|g" -e "s|8443|$port|g")
    [ -n "$text" ] || fail "neither docs/clients.md nor docs/helper.md has a block '$1'"
    printf '%s\n' "$text"
}

# run_block NAME IDENTITY [ARGUMENTS...]: runs the block in a shell in which nothing but the page says where the token is;
# the arguments go to its last command.
run_block() {
    local name=$1 identity=$2
    shift 2
    env -u P11_KIT_SERVER_ADDRESS timeout 60 bash -euo pipefail -c "$(block environment)
$(block "$name" "$identity") \"\$@\"" "$name" "$@"
}

# in_environment COMMAND...: a program in place of this shell, with the environment that the page's first block gives it.
in_environment() {
    unset P11_KIT_SERVER_ADDRESS
    eval "$(block environment)"
    exec "$@"
}

# page_shows NAME FILE: every line of the page's block of that name is in the file, which is what the case runs.
page_shows() {
    local line
    while read -r line; do
        grep -qF -- "$line" "$2" || fail "docs/clients.md, block $1: $2 has no line '$line'"
    done < <(block "$1")
}

# with_request COMMAND...: its standard input is an HTTP request without an end, as some clients leave at the end of input.
with_request() (
    pipe=$LAB_DIR/request.$BASHPID
    mkfifo "$pipe"
    exec 3<>"$pipe"
    rm "$pipe"
    printf 'GET /answered HTTP/1.0\r\n\r\n' >&3
    "$@" <&3
)

# run_in_background LOG COMMAND...: the log is new at once, and not only when the command has started.
run_in_background() {
    local log=$1
    shift
    : >"$log"
    "$@" >"$log" 2>&1 </dev/null &
    started+=($!)
}

stop_started() {
    local pid
    for pid in "${started[@]}"; do stop_process "$pid"; done
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# start_peer [OPTIONS...]: a server that insists on a client certificate of the bundle and shows it to the client.
start_peer() {
    local log=$LAB_DIR/peer.log
    run_in_background "$log" openssl s_server -accept 127.0.0.1:0 -www -Verify 2 -verify_return_error \
        -CAfile "$svids/peer/bundle.0.pem" -cert "$svids/peer/svid.0.pem" -key "$svids/peer/svid.0.key" "$@"
    wait_until 60 grep -qs '^ACCEPT' "$log" || fail "the peer does not listen: $(cat "$log")"
    port=$(sed -n 's/^ACCEPT.*://p' "$log")
}

# shows NAME TEXT [FOLDER]: the line of the identity's certificate in PEM that has its serial, or "serial=" alone.
shows() {
    local folder=${3:-$svids}
    grep -qF -e "$(sed -n 2p "$folder/$1/svid.0.pem")" -e "$(openssl x509 -in "$folder/$1/svid.0.pem" -noout -serial)" <<<"$2"
}

# connects NAME COMMAND...: the other end sees the identity's certificate. Tried again only where a rotation came between.
connects() {
    local name=$1 serial status
    shift
    while :; do
        fetch "$name"
        serial=$(serial_of_file "$name") status=0
        output=$("$@" "$name" 2>&1 </dev/null) || status=$?
        [ "$status" != 0 ] || ! shows "$name" "$output" || return 0
        fetch "$name"
        [ "$serial" != "$(serial_of_file "$name")" ] || fail "$name: exit $status of: $* ; it said: $output"
    done
}

# is_refused PATTERN COMMAND...: it fails, and says so in words that a person can read.
is_refused() {
    local pattern=$1 status=0
    shift
    output=$("$@" 2>&1 </dev/null) || status=$?
    [ "$status" != 0 ] || fail "still works after its entry was removed: $*: $output"
    [ "$status" != 124 ] || fail "hangs after its entry was removed: $*: $output"
    grep -Eq -- "$pattern" <<<"$output" || fail "nothing like '$pattern' in what '$*' said: $output"
}

# page_says PATTERN: each of its alternatives, so that whoever reads the message finds it there.
page_says() {
    local part parts
    IFS='|' read -ra parts <<<"$1"
    for part in "${parts[@]}"; do grep -qF -- "$part" "$page" || fail "docs/clients.md does not say '$part'"; done
}

every_identity() {
    local name
    for name in "${identities[@]}"; do "$1" "$name" "${@:2}"; done
}

# one_shot COMMAND PATTERN: a client that makes one connection as the identity that it is given, and ends: now, after a
# rotation, and after the entries were removed.
one_shot() {
    local name
    page_says "$2"
    every_identity connects "$1"
    wait_for_rotation
    every_identity connects "$1"
    remove_entries
    for name in "${identities[@]}"; do is_refused "$2" "$1" "$name"; done
}

# start_long_running COMMAND...: a client that runs for long; it is asked by ask, in lines.
start_long_running() {
    coproc CLIENT { "$@" 2>"$LAB_DIR/client.log"; }
    started+=("$CLIENT_PID")
    # Subshells have no use of a coproc's own descriptors.
    exec {client_in}>&"${CLIENT[1]}" {client_out}<&"${CLIENT[0]}"
}

ask() {
    local answer
    printf '%s\n' "$*" >&"$client_in"
    IFS= read -r -t 60 -u "$client_out" answer || fail "no answer to '$*': $(cat "$LAB_DIR/client.log")"
    printf '%s\n' "$answer"
    [ "${answer%% *}" = ok ]
}

ask_to_connect() { ask connect "interop/$1" "$port"; }
load_and_connect() { ask load && ask_to_connect "$1"; }

# long_running DENIED UNKNOWN: one process, now, after a rotation with the objects that it holds, after it has looked again,
# and after the entries were removed, with the objects that it holds and after it has looked again. Each has its words.
long_running() {
    local name
    page_says "$1"
    every_identity connects load_and_connect
    wait_for_rotation
    for name in "${identities[@]}"; do expect 0 '^ok .*BEGIN CERTIFICATE' ask_to_connect "$name"; done
    every_identity connects load_and_connect
    remove_entries
    for name in "${identities[@]}"; do is_refused "$1" ask_to_connect "$name"; done
    for name in "${identities[@]}"; do is_refused "$2" load_and_connect "$name"; done
}

declare -A ports # of a server under test: one for each identity

choose_ports() {
    for name in "${identities[@]}"; do ports[$name]=$(free_port); done
}

all_listen() {
    for name in "${identities[@]}"; do listens "${ports[$name]}" || return; done
}

# visit NAME: makes mutual TLS, as the peer, with the server of that identity; shows its certificate and what it answers.
visit() {
    local page
    page=$(with_request timeout 60 openssl s_client -connect "127.0.0.1:${ports[$1]}" -CAfile "$svids/peer/bundle.0.pem" \
        -cert "$svids/peer/svid.0.pem" -key "$svids/peer/svid.0.key" -verify_return_error -verify_hostname localhost 2>&1) || true
    printf '%s\n' "$page"
    grep -q answered <<<"$page"
}

# is_served_with NAME [FOLDER]: by the certificate that this folder has for it.
is_served_with() {
    local page
    page=$(visit "$1") && shows "$1" "$page" "${2:-$svids}"
}

must_be_served_with() { is_served_with "$@" || fail "$*: not served: $(visit "$1" || cat "$LAB_DIR/server.log")"; }

# moves_on NAME RELOAD: after RELOAD the server has the new certificate. A second time for a rotation that comes between.
moves_on() {
    "$2"
    wait_until 10 is_served_with "$1" && return
    fetch
    "$2"
    wait_until 10 is_served_with "$1" || fail "$1: not served with its new certificate after the reload: $(visit "$1")"
}

log_has() { grep -Eqs -- "$1" "$2"; }

# server RELOAD DENIED [AFTER-ROTATION]: a server that listens on each identity's port, and logs to $LAB_DIR/server.log: now,
# after a rotation without a reload, also once AFTER-ROTATION was run, after the reload that the page documents, and after
# the entries were removed, when it cannot serve, and its log says why.
server() {
    local name
    page_says "$2"
    every_identity must_be_served_with
    wait_for_rotation
    every_identity must_be_served_with "$LAB_DIR/before"
    if [ -n "${3:-}" ]; then
        "$3"
        every_identity must_be_served_with "$LAB_DIR/before"
    fi
    every_identity moves_on "$1"
    remove_entries
    for name in "${identities[@]}"; do is_refused 'handshake failure|internal error|[Aa]lert' visit "$name"; done
    wait_until 20 log_has "$2" "$LAB_DIR/server.log" || fail "nothing like '$2' in the server's log: $(cat "$LAB_DIR/server.log")"
}
