#include "agent/workload/cgroup.h"

#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

#define ID "3fa94e1d1ad3e2f0b6b8aa6d2c5a3f3c9bde0d9f6f4c7f0a1b2c3d4e5f607182"
#define OTHER "00000e1d1ad3e2f0b6b8aa6d2c5a3f3c9bde0d9f6f4c7f0a1b2c3d4e5f607182"
#define POD "pod8f1e2d3c_4b5a_6978_8796_a5b4c3d2e1f0"
#define PODD "pod8f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
#define USER "/user.slice/user-1000.slice/"

static const struct {
    const char *text, *unit, *container_id;
} cases[] = {
    /* systemd, version 2. */
    {"0::/system.slice/nginx.service\n", "nginx.service", ""},
    {"0::/system.slice/system-getty.slice/getty@tty1.service\n", "getty@tty1.service", ""},
    {"0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n",
     "postgresql@15-main.service", ""},
    {"0::/system.slice/dev-disk-by\\x2duuid-1\\x2d2.swap\n", "dev-disk-by\\x2duuid-1\\x2d2.swap",
     ""},
    {"0::/init.scope\n", "init.scope", ""},
    {"0::/\n", "", ""},
    {"0::/system.slice\n", "", ""},
    {"0::/system.slice/_cpu.service\n", "cpu.service", ""},
    {"0::/system.slice/nginx.service (deleted)\n", "nginx.service", ""},
    {"0::/../../system.slice/nginx.service\n", "nginx.service", ""},
    {"0::/system.slice/docker.service\n", "docker.service", ""},
    /* Users, who name what lies below their manager. */
    {"0::" USER "session-2.scope\n", "session-2.scope", ""},
    {"0::" USER "user@1000.service/app.slice/app-gnome-firefox-2233.scope\n", "user@1000.service",
     ""},
    {"0::" USER "user@1000.service/nginx.service\n", "user@1000.service", ""},
    {"0::" USER "user@1000.service/init.scope\n", "user@1000.service", ""},
    /* A service with groups of its own. */
    {"0::/system.slice/containerd.service/system.slice/nginx.service\n", "containerd.service", ""},
    {"0::/plain/nginx.service\n", "", ""},
    /* Docker. */
    {"0::/system.slice/docker-" ID ".scope\n", "docker-" ID ".scope", ID},
    {"0::/docker/" ID "\n", "", ID},
    {"0::/docker/" ID "/docker/" OTHER "\n", "", ID},
    {"0::/system.slice/docker-" ID ".scope/init.scope\n", "docker-" ID ".scope", ID},
    {"0::/../" ID "\n", "", ID},
    /* Kubernetes: containerd, CRI-O, Docker. */
    {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" POD
     ".slice/cri-containerd-" ID ".scope\n",
     "cri-containerd-" ID ".scope", ID},
    {"0::/kubepods.slice/kubepods-" POD ".slice/crio-" ID ".scope\n", "crio-" ID ".scope", ID},
    {"0::/kubepods.slice/kubepods-" POD ".slice/crio-conmon-" ID ".scope\n",
     "crio-conmon-" ID ".scope", ""},
    {"0::/kubepods/besteffort/" PODD "/" ID "\n", "", ID},
    {"11:memory:/system.slice/containerd.service/kubepods-burstable-" POD
     ".slice:cri-containerd:" ID "\n"
     "1:name=systemd:/system.slice/containerd.service/kubepods-burstable-" POD
     ".slice:cri-containerd:" ID "\n",
     "containerd.service", ID},
    /* Podman: root's, a user's, within a service. */
    {"0::/machine.slice/libpod-" ID ".scope/container\n", "libpod-" ID ".scope", ID},
    {"0::/machine.slice/libpod-conmon-" ID ".scope\n", "libpod-conmon-" ID ".scope", ""},
    {"0::" USER "user@1000.service/user.slice/libpod-" ID ".scope/container\n", "user@1000.service",
     ID},
    {"0::/system.slice/web.service/libpod-payload-" ID "\n", "web.service", ID},
    {"0::/libpod_parent/libpod-" ID "\n", "", ID},
    /* LXC, LXD, and what runs in there. */
    {"0::/lxc.payload.web-1/system.slice/nginx.service\n", "", "web-1"},
    {"0::/lxc.monitor.web-1\n", "", ""},
    {"12:devices:/lxc/web-1/init.scope\n1:name=systemd:/lxc/web-1/init.scope\n", "", "web-1"},
    {"0::/lxc.payload/web-1/init.scope\n", "", "web-1"},
    {"0::/lxc.payload.web-1/docker/" ID "\n", "", "web-1"},
    /* Version 1, and both. */
    {"12:pids:/system.slice/sshd.service\n11:cpu,cpuacct:/\n"
     "1:name=systemd:/system.slice/sshd.service\n0::/system.slice/sshd.service\n",
     "sshd.service", ""},
    {"12:pids:/system.slice/other.service\n1:name=systemd:/system.slice/sshd.service\n",
     "sshd.service", ""},
    {"12:cpu,cpuacct:/docker/" ID "\n11:memory:/docker/" ID "\n1:name=systemd:/docker/" ID "\n", "",
     ID},
    {"9:memory:/docker/" ID "\n1:name=systemd:/system.slice/docker.service\n", "docker.service",
     ID},
    {"1:name=elogind:/c1\n0::/c1\n", "", ""},
    /* Nothing to be believed. */
    {"", "", ""},
    {"\n\n", "", ""},
    {"0::", "", ""},
    {"0::relative/nginx.service", "", ""},
    {"no colons at all", "", ""},
    {"0::/system.slice/.service\n", "", ""},
    {"0::/system.slice/a b.service\n", "", ""},
    {"0::/system.slice/\x1b[31m.service\n", "", ""},
    {"0::/system.slice/\xc3\xa9.service\n", "", ""},
    {"0::/docker/3FA94E1D1AD3E2F0B6B8AA6D2C5A3F3C9BDE0D9F6F4C7F0A1B2C3D4E5F607182\n", "", ""},
    {"0::/docker/a" ID "\n", "", ""},
    {"0::/docker/" ID "a\n", "", ""},
    {"0::/lxc.payload.a b\n", "", ""},
    {"0::/lxc.payload.\n", "", ""},
};

static void lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct cgroup_names names;
        cgroup_parse(bytes_of_text(cases[i].text), &names);
        if (strcmp(names.unit, cases[i].unit) != 0 ||
            strcmp(names.container_id, cases[i].container_id) != 0) {
            fail_msg("%s: unit '%s', container '%s'", cases[i].text, names.unit,
                     names.container_id);
        }
    }
}

/* Names of every length: what is too long is left out, not cut. */
static void long_names(void **state)
{
    (void)state;
    static const char *const formats[] = {"0::/system.slice/%s.service", "0::/lxc.payload.%s"};
    static const size_t ends[] = {sizeof(".service") - 1, 0};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        for (size_t size = 1; size < 2UL * CGROUP_UNIT_MAX_BYTES; size++) {
            char name[2 * CGROUP_UNIT_MAX_BYTES + 1] = {0};
            struct cgroup_names names;
            memset(name, 'n', size);
            _cleanup_(free_cleanup) char *text = text_format(formats[i], name);
            cgroup_parse(bytes_of_text(text), &names);
            size_t length = strlen(i == 0 ? names.unit : names.container_id);
            size_t whole = size + ends[i];
            assert_int_equal(length, whole < CGROUP_UNIT_MAX_BYTES ? whole : 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
