# The parts of a lab: start, stop and restart each. Sourced by hw-sim/lab and by system tests that run inside one.
# All of it is found by LAB_DIR.
# shellcheck shell=bash
# shellcheck source=hw-sim/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# What users of the TPM connect to: the swtpm, or in a lab with --tpm-proxy the proxy before it.
lab_tcti() { if [ -n "${LAB_TPM_PROXY:-}" ]; then echo "swtpm:path=$LAB_DIR/tpm/proxy"; else lab_tcti_direct; fi; }
lab_tcti_direct() { echo "swtpm:path=$LAB_DIR/tpm/sock"; }

# A TPM with RSA and ECC endorsement certificates of a CA made for this lab.
lab_tpm_create() {
    mkdir -p "$LAB_DIR/tpm/state" "$LAB_DIR/tpm/ek" "$LAB_DIR/tpm/ca" "$LAB_DIR/ek-ca"
    cat >"$LAB_DIR/tpm/localca.conf" <<CONF
statedir = $LAB_DIR/tpm/ca
signingkey = $LAB_DIR/tpm/ca/signkey.pem
issuercert = $LAB_DIR/tpm/ca/issuercert.pem
certserial = $LAB_DIR/tpm/ca/certserial
CONF
    printf -- '--platform-manufacturer signet\n--platform-version 2.1\n--platform-model lab\n' >"$LAB_DIR/tpm/localca.options"
    cat >"$LAB_DIR/tpm/setup.conf" <<CONF
create_certs_tool = $(command -v swtpm_localca)
create_certs_tool_config = $LAB_DIR/tpm/localca.conf
create_certs_tool_options = $LAB_DIR/tpm/localca.options
active_pcr_banks = sha256
CONF
    swtpm_setup --tpm2 --config "$LAB_DIR/tpm/setup.conf" --tpmstate "$LAB_DIR/tpm/state" --createek --create-ek-cert \
        --create-platform-cert --lock-nvram --pcr-banks sha1,sha256,sha384 --write-ek-cert-files "$LAB_DIR/tpm/ek" \
        --overwrite --logfile "$LAB_DIR/tpm/setup.log" >/dev/null 2>&1 ||
        { tail -n 20 "$LAB_DIR/tpm/setup.log" >&2 && die "swtpm_setup could not make a TPM"; }
    # What a verifier is given of it: certificates, without the keys.
    cp "$LAB_DIR"/tpm/ca/*cert.pem "$LAB_DIR/ek-ca"
}

lab_tpm_answers() { TPM2TOOLS_TCTI=$(lab_tcti_direct) tpm2_getrandom --hex 4 >/dev/null 2>&1; }

lab_tpm_start() {
    swtpm socket --tpm2 --tpmstate "dir=$LAB_DIR/tpm/state" --server "type=unixio,path=$LAB_DIR/tpm/sock" \
        --ctrl "type=unixio,path=$LAB_DIR/tpm/sock.ctrl" --flags not-need-init,startup-clear \
        --pid "file=$LAB_DIR/tpm/pid" --log "file=$LAB_DIR/tpm/log,level=1" --daemon
    wait_until 20 lab_tpm_answers || die "swtpm does not answer; see $LAB_DIR/tpm/log"
}

# lab_tpm_stop [SIGNAL]
lab_tpm_stop() {
    [ -s "$LAB_DIR/tpm/pid" ] || return 0
    stop_process "$(cat "$LAB_DIR/tpm/pid")" "${1:-TERM}"
    rm -f "$LAB_DIR/tpm/pid" "$LAB_DIR/tpm/sock" "$LAB_DIR/tpm/sock.ctrl"
}

# lab_tpm_fault WORD...: tells the proxy what to do from now on; see tpm-proxy --help.
lab_tpm_fault() { tpm-proxy --control "$LAB_TPM_PROXY" "$@" >/dev/null || die "the TPM proxy did not obey: $*"; }
# lab_tpm_count NAME: what the proxy has counted, such as: lab_tpm_count Sign
lab_tpm_count() { tpm-proxy --control "$LAB_TPM_PROXY" count | sed -n "s/^$1 //p" | grep . || echo 0; }
lab_tpm_proxy_answers() { tpm-proxy --control "$LAB_TPM_PROXY" clear >/dev/null 2>&1; }

# A proxy that makes the TPM slow or broken on command; LAB_TPM_PROXY is where it is told.
lab_tpm_proxy_start() {
    command -v tpm-proxy >/dev/null || die "tpm-proxy is not built; it belongs to the tests (SIGNET_TESTS)"
    export LAB_TPM_PROXY=$LAB_DIR/tpm/proxy.control
    tpm-proxy --listen "$LAB_DIR/tpm/proxy" --tpm "$LAB_DIR/tpm/sock" --control "$LAB_TPM_PROXY" \
        >>"$LAB_DIR/tpm/proxy.log" 2>&1 </dev/null &
    echo $! >"$LAB_DIR/tpm/proxy.pid"
    wait_until 20 lab_tpm_proxy_answers || die "the TPM proxy does not answer; see $LAB_DIR/tpm/proxy.log"
}

lab_tpm_proxy_stop() {
    [ -s "$LAB_DIR/tpm/proxy.pid" ] || return 0
    stop_process "$(cat "$LAB_DIR/tpm/proxy.pid")"
    rm -f "$LAB_DIR/tpm/proxy.pid"
}

lab_hsm_module() {
    local path
    for path in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so; do
        [ -e "$path" ] && echo "$path" && return
    done
    die "libsofthsm2.so is not here; run hw-sim/setup"
}

# A SoftHSM token "signet" with a random PIN.
lab_hsm_create() {
    mkdir -p "$LAB_DIR/hsm/tokens"
    printf 'directories.tokendir = %s/hsm/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$LAB_DIR" >"$LAB_DIR/hsm/softhsm2.conf"
    (umask 077 && od -An -N 12 -tx1 /dev/urandom | tr -d ' \n' >"$LAB_DIR/hsm/pin")
    # The PIN reaches softhsm2-util by argument: a lab's token holds nothing of value.
    SOFTHSM2_CONF=$LAB_DIR/hsm/softhsm2.conf softhsm2-util --init-token --free --label signet \
        --pin "$(cat "$LAB_DIR/hsm/pin")" --so-pin "$(cat "$LAB_DIR/hsm/pin")" >/dev/null
}

# lab_conf_write TEMPLATE: the configuration, with @LAB_DIR@, @TCTI@, @MODULE@ and @UID@ filled in.
lab_conf_write() {
    sed -e "s|@LAB_DIR@|$LAB_DIR|g" -e "s|@TCTI@|$(lab_tcti)|g" -e "s|@MODULE@|$(lab_hsm_module)|g" \
        -e "s|@UID@|$(id -u)|g" "$1" >"$LAB_DIR/signetd.conf"
    chmod go-w "$LAB_DIR/signetd.conf"
}

lab_agent_is_ready() { signet --run-dir "$LAB_DIR/run" health >/dev/null 2>&1; }
lab_agent_is_up_or_dead() { lab_agent_is_ready || process_is_gone "$(cat "$LAB_DIR/signetd.pid")"; }

# as_service COMMAND...: in a session of its own, which the kernel's scheduler gives its own share of the CPUs; where this user
# may say so, the share that CPUWeight= of signetd.service gives it.
as_service() {
    # shellcheck disable=SC2016
    exec setsid sh -c '{ echo -10 >/proc/self/autogroup; } 2>/dev/null; exec "$@"' sh "$@"
}

# lab_agent_start [WRAPPER...]: signetd under an optional wrapper command; ready when this returns.
lab_agent_start() {
    local conf=$LAB_DIR/signetd.conf
    SOFTHSM2_CONF=$LAB_DIR/hsm/softhsm2.conf as_service "$@" signetd -c "$conf" >>"$LAB_DIR/signetd.log" 2>&1 </dev/null &
    echo $! >"$LAB_DIR/signetd.pid"
    wait_until 60 lab_agent_is_up_or_dead || true
    lab_agent_is_ready || { tail -n 20 "$LAB_DIR/signetd.log" >&2 && warn "signetd did not become ready; its log is above" && return 1; }
}

# lab_agent_stop [SIGNAL]
lab_agent_stop() {
    [ -s "$LAB_DIR/signetd.pid" ] || return 0
    stop_process "$(cat "$LAB_DIR/signetd.pid")" "${1:-TERM}"
    rm -f "$LAB_DIR/signetd.pid"
}

lab_agent_pid() { cat "$LAB_DIR/signetd.pid"; }

# A build with sanitizers tells of errors, and of what it leaked, in the agent's log.
lab_agent_is_sane() {
    local sign='ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:'
    grep -qsE "$sign" "$LAB_DIR/signetd.log" || return 0
    warn "lab: a sanitizer found an error in signetd:"
    grep -E -A 40 "$sign" "$LAB_DIR/signetd.log" | head -n 80 >&2
    return 1
}
