# What the interop cases share: the lab's configuration with fast rotation, and the clients by name.
# shellcheck shell=bash
# shellcheck source=tests/system/harness.sh
. "$(dirname "${BASH_SOURCE[0]}")/../system/harness.sh"

: "${SIGNET_INTEROP:=$SIGNET_BUILD/interop}"
interop=$SIGNET_SOURCE/tests/interop
# shellcheck disable=SC2034 # for the cases
id=spiffe://example.org/interop/delivered

go_client() { "$SIGNET_INTEROP/bin/interop" "$@"; }
python_client() { "$SIGNET_INTEROP/python/bin/python" "$interop/python/interop.py" "$@"; }
grpcurl() { "$SIGNET_INTEROP/bin/grpcurl" "$@"; }

# both CLIENT-FUNCTION-SUFFIX...: runs the function for Go and for Python.
both() {
    "$1" go_client
    "$1" python_client
}
