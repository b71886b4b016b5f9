# What the tests of the node's attestation need. Sourced after harness.sh, inside a lab of node.conf.
# shellcheck shell=bash
hardware=spiffe://example.org/lab/hardware
# shellcheck disable=SC2034 # for who sources it
counter=0x01805347 # where the agent has its counter in the TPM's NV

tpm() { TPM2TOOLS_TCTI=$(lab_tcti_direct) "tpm2_$1" "${@:2}"; }
extend_pcr() { tpm pcrextend "$1:sha256=$(printf '%064d' "$2")"; }
reset_tpm() { lab_tpm_stop KILL && lab_tpm_start; }

# node_reason: the reason for which the node is not attested; nothing where it is.
node_reason() { signet --output json attest show 2>/dev/null | jq -r '.reason // ""'; }
reason_is() { [ "$(node_reason)" = "$1" ]; }
is_attested() { [ "$(signet --output json attest show 2>/dev/null | jq -r .attested)" = true ]; }
wait_for_reason() { wait_until 20 reason_is "$1" || fail "the reason is '$(node_reason)', not '$1': $(signet attest show || true)"; }
wait_for_attested() { wait_until 20 is_attested || fail "the node is not attested: $(signet attest show || true)"; }

# set_node KEY VALUE: in the block node of the agent's configuration.
set_node() { sed -i "s|^\( *$1 *= \).*|\1\"$2\"|" "$LAB_DIR/signetd.conf"; }

agent_answers() { signet lock list >/dev/null 2>&1; }
agent_answers_or_dead() { agent_answers || process_is_gone "$(lab_agent_pid)"; }
# agent_start_anyhow: whether or not the node is attested.
agent_start_anyhow() {
    signetd -c "$LAB_DIR/signetd.conf" >>"$LAB_DIR/signetd.log" 2>&1 </dev/null &
    echo $! >"$LAB_DIR/signetd.pid"
    wait_until 20 agent_answers_or_dead || fail "the agent does not answer"
    agent_answers
}
# expect_no_start PATTERN: it ends, and says why.
expect_no_start() { expect 1 "$1" signetd -c "$LAB_DIR/signetd.conf"; }

expect_denied() { expect 3 "$1" signet svid fetch x509; }
expect_served() { expect 0 "$hardware" signet svid fetch x509; }
