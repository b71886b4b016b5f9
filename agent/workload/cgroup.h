/* What the control groups of a process tell of it: the text of /proc/PID/cgroup, version 1 or 2
 * (cgroups(7)). Every thread.
 *
 * Only the part of a path that the host's own managers made is believed: whoever is given a
 * subtree, such as a user's manager or a container, makes and names groups below it as he likes. */
#pragma once

#include "lib/base/bytes.h"

enum {
    CGROUP_TEXT_MAX_BYTES = 65536,
    CGROUP_UNIT_MAX_BYTES = 256, /* systemd.unit(5): up to 255 characters */
    CGROUP_CONTAINER_MAX_BYTES = 256,
};

/* Printable ASCII. Empty: none. */
struct cgroup_names {
    /* Of the system's manager, such as "nginx.service", "session-2.scope" or "user@1000.service".
     */
    char unit[CGROUP_UNIT_MAX_BYTES];
    /* Docker, containerd, CRI-O and Podman: 64 hexadecimal digits; LXC: the container's name. The
     * outermost one. */
    char container_id[CGROUP_CONTAINER_MAX_BYTES];
};

/* Never fails: what it does not understand tells nothing. */
void cgroup_parse(struct bytes text, struct cgroup_names *ret_names);
