# A PKCS#11 application that stays, for system tests of the token: tools/p11.c as a coprocess. Source it after harness.sh.
# shellcheck shell=bash

p11_module() {
    local path
    for path in /usr/lib/*/pkcs11/p11-kit-client.so /usr/lib/pkcs11/p11-kit-client.so; do
        [ -e "$path" ] && echo "$path" && return
    done
    fail "p11-kit-client.so is not here; run hw-sim/setup"
}

# p11_start: a new application, already with a session. P11_PROGRAM: a copy of it that has another name.
p11_start() {
    coproc P11 { exec "${P11_PROGRAM:-$SIGNET_BUILD/tests/system/p11}" "$(p11_module)" 2>&1; }
    p11_reads ready
}
p11_stop() {
    echo exit >&"${P11[1]}"
    wait "$P11_PID" || true
}

# p11_reads PATTERN: the application's next line is like that; it stays in "line".
p11_reads() {
    line=
    read -rt 60 line <&"${P11[0]}" || true
    grep -Eqx -- "$1" <<<"$line" || fail "the PKCS#11 application said '$line', not '$1'"
}

# p11 PATTERN COMMAND...: what the application answers.
p11() {
    local pattern=$1
    shift
    echo "$*" >&"${P11[1]}"
    p11_reads "$pattern"
}

# p11_answer COMMAND...: the answer, whatever it is, in "line".
p11_answer() { p11 '.*' "$@"; }
