#include "pkcs11/token/message_attribute.h"

#include <string.h>

enum value_kind { VALUE_BYTES, VALUE_BYTE, VALUE_NUMBER, VALUE_NUMBERS, VALUE_TEMPLATE };

/* Attributes that are not arrays of bytes on the wire. CK_DATE is one: eight characters. */
static const struct {
    CK_ATTRIBUTE_TYPE type;
    enum value_kind kind;
} value_kinds[] = {
    {CKA_TOKEN, VALUE_BYTE},
    {CKA_PRIVATE, VALUE_BYTE},
    {CKA_TRUSTED, VALUE_BYTE},
    {CKA_SENSITIVE, VALUE_BYTE},
    {CKA_ENCRYPT, VALUE_BYTE},
    {CKA_DECRYPT, VALUE_BYTE},
    {CKA_WRAP, VALUE_BYTE},
    {CKA_UNWRAP, VALUE_BYTE},
    {CKA_SIGN, VALUE_BYTE},
    {CKA_SIGN_RECOVER, VALUE_BYTE},
    {CKA_VERIFY, VALUE_BYTE},
    {CKA_VERIFY_RECOVER, VALUE_BYTE},
    {CKA_DERIVE, VALUE_BYTE},
    {CKA_EXTRACTABLE, VALUE_BYTE},
    {CKA_LOCAL, VALUE_BYTE},
    {CKA_NEVER_EXTRACTABLE, VALUE_BYTE},
    {CKA_ALWAYS_SENSITIVE, VALUE_BYTE},
    {CKA_MODIFIABLE, VALUE_BYTE},
    {CKA_COPYABLE, VALUE_BYTE},
    {CKA_SECONDARY_AUTH, VALUE_BYTE},
    {CKA_ALWAYS_AUTHENTICATE, VALUE_BYTE},
    {CKA_WRAP_WITH_TRUSTED, VALUE_BYTE},
    {CKA_RESET_ON_INIT, VALUE_BYTE},
    {CKA_HAS_RESET, VALUE_BYTE},
    {CKA_COLOR, VALUE_BYTE},
    {CKA_CLASS, VALUE_NUMBER},
    {CKA_CERTIFICATE_TYPE, VALUE_NUMBER},
    {CKA_CERTIFICATE_CATEGORY, VALUE_NUMBER},
    {CKA_JAVA_MIDP_SECURITY_DOMAIN, VALUE_NUMBER},
    {CKA_KEY_TYPE, VALUE_NUMBER},
    {CKA_MODULUS_BITS, VALUE_NUMBER},
    {CKA_PRIME_BITS, VALUE_NUMBER},
    {CKA_SUB_PRIME_BITS, VALUE_NUMBER},
    {CKA_VALUE_BITS, VALUE_NUMBER},
    {CKA_VALUE_LEN, VALUE_NUMBER},
    {CKA_KEY_GEN_MECHANISM, VALUE_NUMBER},
    {CKA_AUTH_PIN_FLAGS, VALUE_NUMBER},
    {CKA_HW_FEATURE_TYPE, VALUE_NUMBER},
    {CKA_PIXEL_X, VALUE_NUMBER},
    {CKA_PIXEL_Y, VALUE_NUMBER},
    {CKA_RESOLUTION, VALUE_NUMBER},
    {CKA_CHAR_ROWS, VALUE_NUMBER},
    {CKA_CHAR_COLUMNS, VALUE_NUMBER},
    {CKA_BITS_PER_PIXEL, VALUE_NUMBER},
    {CKA_MECHANISM_TYPE, VALUE_NUMBER},
    {CKA_ALLOWED_MECHANISMS, VALUE_NUMBERS},
    {CKA_WRAP_TEMPLATE, VALUE_TEMPLATE},
    {CKA_UNWRAP_TEMPLATE, VALUE_TEMPLATE},
    {CKA_DERIVE_TEMPLATE, VALUE_TEMPLATE},
};

static enum value_kind value_kind_of(CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < ARRAY_SIZE(value_kinds); i++) {
        if (value_kinds[i].type == type) {
            return value_kinds[i].kind;
        }
    }
    return VALUE_BYTES;
}

/* Room for one value of a reply. A template would have further attributes in it: nothing here has
 * such a value, and nothing is read behind it. */
static void read_attribute_room(struct reader *reader, struct message_arguments *arguments)
{
    CK_ATTRIBUTE *attribute = &arguments->attributes[arguments->attribute_count++];
    *attribute = (CK_ATTRIBUTE){.type = reader_u32(reader)};
    attribute->ulValueLen = reader_u32(reader);
    if (attribute->ulValueLen == 0) {
        return;
    }
    if (value_kind_of(attribute->type) == VALUE_TEMPLATE) {
        arguments->rv = CKR_ATTRIBUTE_TYPE_INVALID;
    }
    attribute->pValue = attribute;
}

/* An attribute to search for. The length before the value is what it takes in the client's memory,
 * which may have narrower numbers: the value alone counts. */
static void read_attribute(struct reader *reader, struct message_arguments *arguments)
{
    size_t index = arguments->attribute_count++;
    CK_ATTRIBUTE *attribute = &arguments->attributes[index];
    CK_ULONG *number = &arguments->attribute_numbers[index];
    *attribute = (CK_ATTRIBUTE){.type = reader_u32(reader)};
    if (reader_u8(reader) == 0) {
        arguments->rv = CKR_ATTRIBUTE_VALUE_INVALID;
        return;
    }
    uint32_t length = reader_u32(reader);
    struct bytes value = {0};
    switch (value_kind_of(attribute->type)) {
    case VALUE_BYTE:
        value = reader_bytes(reader, 1);
        break;
    case VALUE_NUMBER:
        *number = reader_u64(reader);
        value = (struct bytes){(const uint8_t *)number, sizeof(*number)};
        break;
    case VALUE_BYTES:
        value = message_read_sized(reader);
        break;
    case VALUE_NUMBERS:
        /* No object has it, so it matches none; its values are skipped. */
        value = reader_bytes(reader, (size_t)reader_u32(reader) * sizeof(uint64_t));
        break;
    case VALUE_TEMPLATE:
        arguments->rv = CKR_ATTRIBUTE_TYPE_INVALID;
        return;
    }
    if (length == 0) {
        return;
    }
    attribute->pValue = (void *)value.data;
    attribute->ulValueLen = value.size;
}

/* aA and fA: a count and as many attributes. A count that the message is too short for is malformed
 * like any other missing byte. */
static void read_all(struct reader *reader, struct message_arguments *arguments,
                     void (*read)(struct reader *reader, struct message_arguments *arguments))
{
    uint32_t count = reader_u32(reader);
    if (count > reader->rest.size) {
        reader->is_bad = true;
    } else if (count > MESSAGE_ATTRIBUTES_MAX) {
        arguments->rv = CKR_ARGUMENTS_BAD;
    }
    for (uint32_t i = 0; i < count && arguments->rv == CKR_OK && !reader->is_bad; i++) {
        read(reader, arguments);
    }
}

void message_read_attributes(struct reader *reader, struct message_arguments *arguments)
{
    read_all(reader, arguments, read_attribute);
}

void message_read_attribute_rooms(struct reader *reader, struct message_arguments *arguments)
{
    read_all(reader, arguments, read_attribute_room);
}

/* A number or byte that is only asked for its size is written as 0, an array of bytes as NULL. */
static void write_value(struct message_reply *reply, const CK_ATTRIBUTE *value, bool is_wanted)
{
    struct bytes bytes = {value->pValue, value->ulValueLen};
    CK_ULONG number = 0;
    switch (value_kind_of(value->type)) {
    case VALUE_BYTE:
        buffer_append_u8(reply->buffer, is_wanted && bytes.size > 0 ? bytes.data[0] : 0);
        break;
    case VALUE_NUMBER:
        if (is_wanted && bytes.size == sizeof(number)) {
            memcpy(&number, bytes.data, sizeof(number));
        }
        buffer_append_u64(reply->buffer, number);
        break;
    default:
        buffer_append_u32(reply->buffer, is_wanted ? (uint32_t)bytes.size : UINT32_MAX);
        buffer_append(reply->buffer, bytes.data, is_wanted ? bytes.size : 0);
        break;
    }
}

static bool may_write(enum value_kind kind)
{
    return kind != VALUE_NUMBERS && kind != VALUE_TEMPLATE;
}

CK_RV message_write_attributes(struct message_reply *reply, const CK_ATTRIBUTE *asked,
                               const CK_ATTRIBUTE *values, size_t count, CK_RV rv)
{
    /* Type, validity, lengths, a number; the code at the end. */
    static const size_t margin = 64;
    if (rv != CKR_OK && rv != CKR_ATTRIBUTE_SENSITIVE && rv != CKR_ATTRIBUTE_TYPE_INVALID) {
        return rv;
    }
    buffer_append_u32(reply->buffer, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        size_t size = values[i].ulValueLen;
        bool is_known =
            size != CK_UNAVAILABLE_INFORMATION && may_write(value_kind_of(asked[i].type));
        bool is_too_small = is_known && asked[i].pValue && asked[i].ulValueLen < size;
        if (is_too_small && rv == CKR_OK) {
            rv = CKR_BUFFER_TOO_SMALL;
        }
        size_t room = message_reply_room(reply);
        if (room < margin ||
            (asked[i].pValue && is_known && !is_too_small && room - margin < size)) {
            return CKR_DEVICE_MEMORY;
        }
        buffer_append_u32(reply->buffer, (uint32_t)asked[i].type);
        buffer_append_u8(reply->buffer, is_known && !is_too_small);
        if (is_known && !is_too_small) {
            buffer_append_u32(reply->buffer, (uint32_t)size);
            write_value(reply, &values[i], asked[i].pValue);
        }
    }
    message_write_number(reply, rv);
    return CKR_OK;
}
