# For tests/bench/run: attestation, in a lab with a proxy before the TPM, which counts commands and keeps the pace.
# shellcheck shell=bash

# attest_rows PREFIX ARGUMENTS...: rows of what bench_attest prints.
attest_rows() {
    local prefix=$1 what figure figures
    shift
    figures=$("$SIGNET_BUILD/tests/bench/bench_attest" "$@")
    while IFS=$'\t' read -r what figure; do
        row "$prefix$what" "$figure"
    done <<<"$figures"
}

inside_attest() {
    local type bench=$LAB_DIR/bench
    for type in ec-p256 rsa-2048; do
        mkdir -p "$bench/$type" "$bench/$type-paced"
        attest_rows "swtpm, $type: " steps "$(lab_tcti)" "$LAB_TPM_PROXY" "$LAB_DIR/ek-ca" $type "$bench/$type" "$(amount 50 2)"
    done
    lab_tpm_fault pace discrete
    attest_rows "pace of a real TPM: " steps "$(lab_tcti)" "$LAB_TPM_PROXY" "$LAB_DIR/ek-ca" ec-p256 "$bench/ec-p256-paced" "$(amount 5 1)"
    lab_tpm_fault pace none
    mkdir -p "$bench/judge"
    attest_rows "judged / read and judged: " judge "$(lab_tcti)" "$LAB_DIR/ek-ca" \
        "$SIGNET_SOURCE/tests/unit/attest/event_logs/ubuntu-21.04.bin" "$bench/judge" "$(amount 3000 5)"
}
