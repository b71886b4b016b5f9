/* Every request message that a client may send: the first byte chooses which. What can be read is
 * written again. */
#include "tests/fuzz/fuzz.h"

#include "lib/base/bytes.h"
#include "lib/base/memory.h"
#include "proto/admin.pb-c.h"
#include "proto/hardware.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/workload.pb-c.h"

static const ProtobufCMessageDescriptor *const requests[] = {
    &admin__list_entries_request__descriptor,       &admin__add_entry_request__descriptor,
    &admin__remove_entry_request__descriptor,       &admin__get_bundle_request__descriptor,
    &admin__list_keys_request__descriptor,          &admin__get_health_request__descriptor,
    &hardware__x509_identities_request__descriptor, &health__health_check_request__descriptor,
    &workload__x509_svidrequest__descriptor,        &workload__x509_bundles_request__descriptor,
    &workload__jwtsvidrequest__descriptor,          &workload__jwtbundles_request__descriptor,
    &workload__validate_jwtsvidrequest__descriptor,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_of((struct bytes){data, size});
    const ProtobufCMessageDescriptor *request = requests[reader_u8(&reader) % ARRAY_SIZE(requests)];
    ProtobufCMessage *message =
        protobuf_c_message_unpack(request, NULL, reader.rest.size, reader.rest.data);
    if (!message) {
        return 0;
    }
    size_t packed_size = protobuf_c_message_get_packed_size(message);
    _cleanup_(free_cleanup) uint8_t *packed = memory_new(packed_size);
    if (protobuf_c_message_pack(message, packed) != packed_size) {
        abort();
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}
