#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/bytes.h"

static void a_reader_never_leaves_its_bytes(void **state)
{
    (void)state;
    const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7};
    struct reader reader = reader_of((struct bytes){data, sizeof(data)});
    assert_int_equal(reader_u8(&reader), 1);
    assert_int_equal(reader_u16(&reader), 0x0203);
    assert_int_equal(reader_u16_le(&reader), 0x0504);
    assert_false(reader_is_done(&reader));
    assert_int_equal(reader_u32(&reader), 0); /* two bytes are left */
    assert_true(reader.is_bad);
    assert_int_equal(reader_u8(&reader), 0); /* bad stays bad */
    assert_int_equal(reader_bytes(&reader, 1).size, 0);
    assert_false(reader_is_done(&reader));
}

static void a_reader_refuses_huge_lengths(void **state)
{
    (void)state;
    struct reader reader = reader_of(bytes_of_text("abc"));
    assert_null(reader_bytes(&reader, SIZE_MAX).data);
    assert_true(reader.is_bad);
}

static void a_reader_reads_lines(void **state)
{
    (void)state;
    struct reader reader = reader_of(bytes_of_text("a\n\nlast"));
    assert_true(bytes_is_equal(reader_until(&reader, '\n'), bytes_of_text("a")));
    assert_int_equal(reader_until(&reader, '\n').size, 0);
    assert_true(bytes_is_equal(reader_until(&reader, '\n'), bytes_of_text("last")));
    assert_true(reader_is_done(&reader));
    assert_int_equal(reader_until(&reader, '\n').size, 0);
    assert_true(reader_is_done(&reader));
}

static void what_is_sized_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer buffer = {0};
    buffer_append_sized(&buffer, bytes_of_text("one"));
    buffer_append_sized(&buffer, (struct bytes){0});
    buffer_append_sized(&buffer, bytes_of_text("cut"));
    assert_int_equal(buffer.size, 4 + 3 + 4 + 4 + 3);
    buffer.size--;
    struct reader reader = reader_of(buffer_bytes(&buffer));
    assert_true(bytes_is_equal(reader_sized(&reader), bytes_of_text("one")));
    assert_int_equal(reader_sized(&reader).size, 0);
    assert_false(reader.is_bad);
    assert_null(reader_sized(&reader).data);
    assert_true(reader.is_bad);
}

static void a_buffer_writes_what_a_reader_reads(void **state)
{
    (void)state;
    _cleanup_(buffer_clear) struct buffer buffer = {0};
    buffer_append_u8(&buffer, 0xab);
    buffer_append_u16(&buffer, 0x1234);
    buffer_append_u32(&buffer, 0xdeadbeef);
    buffer_append_u64(&buffer, 0x0123456789abcdef);
    buffer_append(&buffer, NULL, 0);
    buffer_append_text(&buffer, "end");
    struct reader reader = reader_of(buffer_bytes(&buffer));
    assert_int_equal(reader_u8(&reader), 0xab);
    assert_int_equal(reader_u16(&reader), 0x1234);
    assert_int_equal(reader_u32(&reader), 0xdeadbeef);
    assert_true(reader_u64(&reader) == 0x0123456789abcdef);
    assert_true(bytes_is_equal(reader_bytes(&reader, 3), bytes_of_text("end")));
    assert_true(reader_is_done(&reader));
    buffer_consume(&buffer, 15);
    assert_true(bytes_is_equal(buffer_bytes(&buffer), bytes_of_text("end")));
    buffer_consume(&buffer, 100);
    assert_int_equal(buffer.size, 0);
}

static void files_are_read_up_to_a_limit(void **state)
{
    (void)state;
    char path[] = "/tmp/signet-bytes-test.XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    static char contents[40000];
    memset(contents, 'x', sizeof(contents));
    assert_int_equal(write(descriptor, contents, sizeof(contents)), sizeof(contents));
    close(descriptor);
    _cleanup_(buffer_clear) struct buffer read = {0};
    struct error err;
    assert_int_equal(buffer_read_file(path, sizeof(contents), &read, &err), 0);
    assert_int_equal(read.size, sizeof(contents));
    buffer_reset(&read);
    assert_int_equal(buffer_read_file(path, sizeof(contents) - 1, &read, &err), -1);
    assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
    unlink(path);
    assert_int_equal(buffer_read_file(path, 10, &read, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
}

static void secret_comparison_is_exact(void **state)
{
    (void)state;
    assert_true(bytes_is_equal_secret(bytes_of_text("abc"), bytes_of_text("abc")));
    assert_false(bytes_is_equal_secret(bytes_of_text("abc"), bytes_of_text("abd")));
    assert_false(bytes_is_equal_secret(bytes_of_text("abc"), bytes_of_text("ab")));
    assert_true(bytes_is_equal_secret((struct bytes){0}, (struct bytes){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_never_leaves_its_bytes),
        cmocka_unit_test(a_reader_refuses_huge_lengths),
        cmocka_unit_test(a_reader_reads_lines),
        cmocka_unit_test(a_buffer_writes_what_a_reader_reads),
        cmocka_unit_test(what_is_sized_is_read_whole_or_not_at_all),
        cmocka_unit_test(files_are_read_up_to_a_limit),
        cmocka_unit_test(secret_comparison_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
