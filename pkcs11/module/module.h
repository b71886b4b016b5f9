/* The driver for any PKCS#11 module, loaded by p11-kit. */
#pragma once

#include "pkcs11/driver.h"

struct module_config {
    const char *module;    /* path of the module, or its p11-kit name */
    const char *token;     /* label of the token, or a pkcs11: URI that selects exactly one */
    const char *pin_path;  /* file of the PIN (secret_read_file); NULL: no login */
    unsigned workers;      /* 1 to 16: sessions that sign at the same time */
    bool is_isolated;      /* run the module in a process of its own */
    const char *host_path; /* isolated: the program to run as that process, with "--module-host";
                              NULL: this program */
    unsigned timeout_ms; /* isolated: an answer that takes longer ends the module's process; 0 means
                            30000 */
};

extern const struct keystore_driver keystore_driver_module; /* config: struct module_config */

/* The main function of the isolated module's process: `signetd --module-host MODULE`, speaking on
 * descriptor 3 (see module_host.c). Returns the exit code. */
int module_host_main(const char *module);
