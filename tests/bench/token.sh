# The part "token" of tests/bench/run: what a signature through the PKCS#11 token costs, and who gets how many.
# shellcheck shell=bash
: "${here:?tests/bench/run sources this}"

started=() # processes to end, also where something fails
stop_started() {
    local process
    for process in "${started[@]}"; do stop_process "$process"; done
    started=()
}
trap stop_started EXIT

client_module() { find /usr/lib -name p11-kit-client.so -print -quit; }

has_identities() { [ "$(signet --output json svid fetch x509 | jq '.svids | length')" = "$1" ]; }
wait_for_identities() { wait_until 60 has_identities "$1" || die "not all of the $1 identities were issued; see $LAB_DIR/signetd.log"; }

token_row() { # WHAT OWN OTHER: our rate and latencies; the other's rate, and the ratio
    local per_s p50 p99 least most other
    read -r per_s p50 p99 least most <<<"$(middle "$2")"
    other=$(median "$3")
    row "$1" "$per_s/s, $(ratio "$per_s" "$other") of $other/s"
    row "  p50 / p99; least and most client to mean" "$p50 / $p99 us; $least and $most"
}

# The token does for a signature what the server does for one that costs nothing, and what the module does. 1/rate is the
# time of the whole host for one signature: with one client its latency, and with many, who keep both cores busy, in
# whatever process, a sum of work. So the two add up in both cases.
floor_row() { # NAME: of its rounds
    local floor sum
    floor=$(median "$1-floor")
    sum=$(awk -v t="$(median "$1-token")" -v f="$floor" -v b="$(median "$1-bare")" 'BEGIN { printf "%.2f", 1 / t / (1 / f + 1 / b) }')
    row "  1/rate to floor's and bare module's summed (aim: 1.3)" "$sum, floor $floor/s"
}

token_softhsm() {
    local client=$1 pin=$LAB_DIR/hsm/pin module address free type label clients name
    module=$(lab_hsm_module)
    # The bare module and p11-kit's server use keys like ours, in the same token.
    pkcs11-tool --module "$module" --login --pin "$(cat "$pin")" --keypairgen --key-type EC:prime256v1 --label bench-ec >/dev/null 2>&1
    pkcs11-tool --module "$module" --login --pin "$(cat "$pin")" --keypairgen --key-type rsa:2048 --label bench-rsa >/dev/null 2>&1
    address=$LAB_DIR/p11-kit-server free=$LAB_DIR/free-signatures
    p11-kit server --foreground --provider "$module" --name "$address" "pkcs11:token=signet" >/dev/null 2>&1 &
    started+=($!)
    "$SIGNET_BUILD/tests/system/tokend" "$free" free >/dev/null &
    started+=($!)
    wait_until 20 test -S "$address" || die "p11-kit server does not listen"
    wait_until 20 test -S "$free" || die "tokend does not listen"
    for type in ec rsa; do
        for clients in $(amount "1 8 64" 2); do
            name=$type-$clients
            for _ in $(seq "$(amount 3 1)"); do
                load "$name-bare" "$module" "bench-$type" "$clients" "$pin"
                P11_KIT_SERVER_ADDRESS=unix:path=$address load "$name-server" "$client" "bench-$type" "$clients" "$pin" ||
                    echo 0 >>"$LAB_DIR/bench/$name-server" # it has few slots for connections
                P11_KIT_SERVER_ADDRESS=unix:path=$free load "$name-floor" "$client" "identity-$type" "$clients"
                load "$name-token" "$client" "hsm/$type" "$clients"
            done
            label="SoftHSM $type, $clients clients"
            token_row "$label: token to bare module" "$name-token" "$name-bare"
            floor_row "$name"
            token_row "$label: token to p11-kit server (aim: 2)" "$name-token" "$name-server"
        done
    done
    stop_started
}

# swtpm talks to one at a time: for the bare loops the agent goes, in each round. The loop with a plain password does less
# than the token, whose sessions keep what goes to the TPM secret from the bus, and shows what the TPM can do at most.
token_swtpm() {
    local client=$1 clients session plain
    for _ in $(seq "$(amount 3 1)"); do
        for clients in $(amount "1 8 64" 2); do load "tpm-$clients" "$client" tpm/ec "$clients"; done
        lab_agent_stop
        read -r session plain < <("$SIGNET_BUILD/tests/bench/bench_keystore" bare "$(lab_tcti)" "$(amount 1500 20)")
        echo "$session" >>"$LAB_DIR/bench/tpm-session"
        echo "$plain" >>"$LAB_DIR/bench/tpm-plain"
        lab_agent_start
        wait_for_identities 4
    done
    for clients in $(amount "1 8 64" 2); do
        token_row "swtpm ec, $clients clients: token to bare loop (aim: 0.95)" "tpm-$clients" tpm-session
        row "  ratio to the loop with a plain password" "$(ratio "$(median "tpm-$clients")" "$(median tpm-plain)")"
    done
}

inside_token() {
    local client p50 p99 crowd_p50 crowd_p99
    client=$(client_module)
    mkdir "$LAB_DIR/bench"
    wait_for_identities 4
    token_softhsm "$client"
    token_swtpm "$client"
    # The kernel's scheduler shares the host out by sessions, which agent, crowd and the one client have each.
    # So long, since the client signs seven times a second: of fewer the p99 is the few times that the machine stalls.
    read -r p50 p99 crowd_p50 crowd_p99 < <("$SIGNET_BUILD/tests/bench/bench_p11load" crowd "$client" hsm/ec "$(amount 999 5)" "$(amount 200000 100)")
    row "one client now and then, p50 / p99, alone" "$p50 / $p99 us"
    row "  beside $(amount 999 5) that sign without end on the other core" "$crowd_p50 / $crowd_p99 us"
    row "  ratio of p99 (aim: 3 or less)" "$(ratio "$crowd_p99" "$p99")"
    row "memory for each idle PKCS#11 connection (aim: 65536)" \
        "$("$SIGNET_BUILD/tests/bench/bench_p11load" idle "$client" "$(lab_agent_pid)" "$(amount 500 10)") bytes"
}

has_signed() { [ "$(lab_tpm_count Sign)" -ge "$1" ]; }

# What is counted begins when every client has signed, for until then some have not started; and ends before the first does.
inside_pace() {
    local clients=8 busy idle longest least most loading
    mkdir "$LAB_DIR/bench"
    wait_for_identities 1
    lab_tpm_fault pace discrete
    lab_tpm_fault count reset
    "$SIGNET_BUILD/tests/bench/bench_p11load" "$(client_module)" tpm/ec $clients "$(amount 22000 2500)" >"$LAB_DIR/bench/pace" &
    loading=$!
    started+=("$loading")
    wait_until 60 has_signed $((clients * 4)) || die "the clients do not sign"
    lab_tpm_fault count reset
    wait_until 60 has_signed "$(amount 150 5)" || die "the clients do not sign any more"
    busy=$(lab_tpm_count busy_ms) idle=$(lab_tpm_count idle_ms) longest=$(lab_tpm_count longest_idle_ms)
    wait "$loading"
    read -r _ _ _ least most <"$LAB_DIR/bench/pace"
    row "pace of a real TPM, 8 clients: idle while work waits" \
        "$(awk -v i="$idle" -v b="$busy" 'BEGIN { printf "%.1f %%", 100 * i / (i + b) }'), at most $longest ms"
    row "  least and most client to mean (aim: 0.8 to 1.2)" "$least and $most"
}

nginx_program() { PATH=$PATH:/usr/sbin:/sbin command -v nginx; }

# nginx_conf NAME DIRECTIVES: its standard input has a line for each server, NAME KEY.
nginx_conf() {
    local folder=$LAB_DIR/nginx name key temporary
    [ "$(id -u)" != 0 ] || echo 'user root;' # the identities are this user's
    printf '%s\n' "worker_processes $(nproc);" "pid $folder/$1.pid;" "error_log $folder/$1.log;" "$2" 'events {}' 'http {' 'access_log off;' 'ssl_protocols TLSv1.3;'
    for temporary in client_body proxy fastcgi uwsgi scgi; do echo "${temporary}_temp_path $folder/$temporary;"; done
    while read -r name key; do
        echo "server { listen unix:$folder/$name.sock ssl; ssl_certificate $folder/$name.pem; ssl_certificate_key \"$key\"; }"
    done
    echo '}'
}

nginx_start() { # NAME
    local folder=$LAB_DIR/nginx
    "$(nginx_program)" -c "$folder/$1.conf" 2>"$folder/$1.start" || die "nginx does not start: $(cat "$folder/$1.start")"
    wait_until 20 test -s "$folder/$1.pid" || die "nginx does not run: $(cat "$folder/$1.log")"
    started+=("$(cat "$folder/$1.pid")")
}

# Each has the same kind of key and certificate; the one with a key file knows nothing of an engine.
nginx_start_all() {
    local folder=$LAB_DIR/nginx index name engine
    mkdir "$folder" "$folder/svids"
    signet --output json svid fetch x509 --write "$folder/svids" >"$folder/svids.json"
    while read -r index name; do
        cp "$folder/svids/svid.$index.pem" "$folder/$name.pem"
        [ ! -f "$folder/svids/svid.$index.key" ] || cp "$folder/svids/svid.$index.key" "$folder/$name.key"
    done < <(jq -r '.svids | to_entries[] | "\(.key) \(.value.spiffe_id | split("/") | last)"' "$folder/svids.json")
    export PKCS11_MODULE_PATH
    PKCS11_MODULE_PATH=$(client_module)
    engine="ssl_engine pkcs11; env PKCS11_MODULE_PATH; env P11_KIT_SERVER_ADDRESS;"
    nginx_conf file '' <<<"file $folder/file.key" >"$folder/file.conf"
    for name in hsm guarded; do
        echo "$name engine:pkcs11:pkcs11:token=signet;object=tls%2F$name;type=private"
    done | nginx_conf token "$engine" >"$folder/token.conf"
    nginx_start file
    nginx_start token
}

inside_tls() {
    local names=(file hsm guarded) name index round file rate
    mkdir "$LAB_DIR/bench"
    wait_for_identities 3
    nginx_start_all
    for round in $(seq "$(amount 3 1)"); do
        # Each round begins with another one, so that none has the better place.
        for index in "${!names[@]}"; do
            name=${names[(index + round) % 3]}
            "$SIGNET_BUILD/tests/bench/bench_tls" "$LAB_DIR/nginx/$name.sock" 8 "$(amount 3000 100)" >>"$LAB_DIR/bench/$name"
        done
    done
    stop_started
    file=$(median file)
    row "nginx, EC P-256 key in a file: handshakes a second" "$file"
    for name in hsm guarded; do
        rate=$(median "$name")
        row "  key in the token, $name: handshakes a second" "$rate, $(ratio "$rate" "$file") of file"
    done
}

token() {
    local missing=
    in_lab token --conf "$here/token.conf"
    in_lab pace --tpm --tpm-proxy --conf "$here/pace.conf"
    nginx_program >/dev/null || missing="nginx"
    openssl engine pkcs11 >/dev/null 2>&1 || missing="${missing:+$missing, }pkcs11 engine"
    if [ -n "$missing" ]; then
        row "nginx with a key in the token" "not here: $missing"
    else
        in_lab tls --hsm --conf "$here/tls.conf"
    fi
}
