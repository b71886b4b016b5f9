# Shared by the tests of evidence. Sourced after harness.sh, inside a lab of attest.conf.
# shellcheck shell=bash
# shellcheck disable=SC2034 # used where this is sourced
hardware=spiffe://example.org/lab/hardware
nonce=00112233445566778899aabbccddeeff
boot_logs=$SIGNET_SOURCE/tests/unit/attest/event_logs

# boot_by LOG: the registers as that boot left them, by extending what was measured; and the log where the agent reads it.
boot_by() {
    local -a events
    mapfile -t events < <(tpm2_eventlog "$1" 2>/dev/null | awk '
        /^- EventNum:/ { type = "" }
        / PCRIndex:/ { pcr = $2 }
        / EventType:/ { type = $2 }
        /AlgorithmId:/ { bank = $3 }
        / Digest:/ && bank == "sha256" && type != "EV_NO_ACTION" { gsub(/"/, "", $2); print pcr ":sha256=" $2 }')
    [ "${#events[@]}" -gt 0 ] || fail "no events in $1"
    TPM2TOOLS_TCTI=$(lab_tcti_direct) tpm2_pcrextend "${events[@]}"
    cp "$1" "$LAB_DIR/boot-log"
}

# reboot: the TPM and the agent start anew.
reboot() {
    lab_agent_stop
    TPM2TOOLS_TCTI=$(lab_tcti_direct) tpm2_shutdown -c
    lab_tpm_stop
    lab_tpm_start
    "$@"
    lab_agent_start
}

# make_evidence FILE [OPTIONS...]
make_evidence() { signet attest evidence --nonce "$nonce" --out "$1" "${@:2}" >/dev/null || fail "no evidence: $*"; }
