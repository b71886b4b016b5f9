/* The driver for any PKCS#11 module, loaded by p11-kit.
 *
 * In this process a module that crashes takes the agent with it, and one that hangs keeps its
 * workers for ever. In a process of its own (is_isolated) it costs the agent the session keys,
 * which are made anew: the calls under way fail as Unavailable, probe starts it again. There each
 * worker has a connection of its own to that process, since one p11-kit connection serves one call
 * at a time; a call costs two switches of process more. The PIN does not pass through p11-kit's
 * buffers.
 */
#pragma once

#include "lib/base/secret.h"
#include "pkcs11/driver.h"

struct module_config {
    const char *module;   /* path of the module, or its p11-kit name */
    const char *token;    /* label of the token, or a pkcs11: URI that selects exactly one */
    const char *pin_path; /* file of the PIN; NULL: no login */
    /* Reads the PIN, of at most limit_bytes, from what is at pin_path. Blocks, on a worker; called
     * at every login. NULL: secret_read_file. */
    int (*read_pin)(const void *user, const char *path, size_t limit_bytes, struct secret *ret_pin,
                    struct error *err);
    const void *pin_user;
    unsigned workers;      /* 1 to 16: sessions that sign at the same time */
    bool is_isolated;      /* run the module in a process of its own */
    const char *host_path; /* isolated: the program to run as that process, with "--module-host";
                              NULL: this program */
    unsigned timeout_ms; /* isolated: an answer that takes longer ends the module's process; 0 means
                            30000 */
};

extern const struct keystore_driver keystore_driver_module; /* config: struct module_config */

/* The main function of the isolated module's process: `signetd --module-host MODULE`, speaking on
 * descriptors 3 and 4 (see module_host.c). Returns the exit code. */
int module_host_main(const char *module);
