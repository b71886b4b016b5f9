/* The way to a swtpm on a unix socket (TCG TSS 2.0 TCTI 3.2): one connection a command. The TCTI of
 * the library does the same, but that of tpm2-tss 3.2 waits without end: it ignores the time limit
 * of an answer, and it has none to connect or to send. One thread. */
#pragma once

#include <stdbool.h>
#include <tss2/tss2_tcti.h>

/* Whether the TCTI loader's string names such a socket: "swtpm:path=/run/x/sock". */
bool tpm_socket_is_meant(const char *conf);

/* conf as above, not kept. Nothing is connected yet. Each command has send_limit_ms to connect and
 * as much again to be sent; an answer has the limit given to receive, and a late one is
 * TSS2_TCTI_RC_TRY_AGAIN. To be closed. */
TSS2_RC tpm_socket_open(const char *conf, int send_limit_ms, TSS2_TCTI_CONTEXT **ret_tcti);

/* Closes what tpm_socket_open gave; a command under way is given up. */
void tpm_socket_close(TSS2_TCTI_CONTEXT *tcti);
