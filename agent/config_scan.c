#include "agent/config_scan.h"

#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

enum token { TOKEN_NONE, TOKEN_WORD, TOKEN_STRING, TOKEN_MARK };

struct scanner {
    const char *name;
    struct error *err;
    struct reader reader;
    struct config_scan *scan;
    unsigned line;
    enum token last; /* the token before, with its character where it is a mark */
    uint8_t last_mark;
    struct reader token; /* from the token in hand on */
    struct bytes last_word;
    unsigned block_line, list_line; /* where the open one began; 0: none is open */
};

static int fail(struct scanner *scanner, unsigned line, const char *what)
{
    return error_set(scanner->err, ERROR_INVALID_ARGUMENT, "%s:%u: %s", scanner->name, line, what);
}

static bool is_at_end(const struct scanner *scanner)
{
    return scanner->reader.rest.size == 0;
}

/* The next byte, which stays there; 0 at the end. */
static uint8_t peek(const struct scanner *scanner)
{
    return is_at_end(scanner) ? 0 : scanner->reader.rest.data[0];
}

static uint8_t take(struct scanner *scanner)
{
    uint8_t c = reader_u8(&scanner->reader);
    scanner->line += c == '\n';
    return c;
}

static void keep(struct scanner *scanner, uint8_t c)
{
    buffer_append_u8(&scanner->scan->text, c);
}

static int scan_blank(struct scanner *scanner, uint8_t c)
{
    if (c == '\r' && peek(scanner) != '\n') {
        return fail(scanner, scanner->line, "a carriage return without a line feed");
    }
    keep(scanner, c == '\n' ? '\n' : ' ');
    return 0;
}

static int scan_line_comment(struct scanner *scanner, uint8_t c)
{
    (void)c;
    while (!is_at_end(scanner) && peek(scanner) != '\n') {
        (void)take(scanner);
    }
    return 0;
}

static int scan_block_comment(struct scanner *scanner)
{
    unsigned start = scanner->line;
    uint8_t last = 0;
    keep(scanner, ' ');
    while (!is_at_end(scanner)) {
        uint8_t c = take(scanner);
        if (c == '\n') {
            keep(scanner, c);
        }
        if (last == '*' && c == '/') {
            return 0;
        }
        last = c;
    }
    return fail(scanner, start, "the comment that begins here is never closed by */");
}

static int scan_slash(struct scanner *scanner, uint8_t c)
{
    if (peek(scanner) == '/') {
        return scan_line_comment(scanner, c);
    }
    if (peek(scanner) == '*') {
        (void)take(scanner);
        return scan_block_comment(scanner);
    }
    return fail(scanner, scanner->line, "'/' outside of quotes; write paths as in \"/run/signet\"");
}

/* A word or a string may follow a brace or a comma, and outside of lists anything. */
static int take_place(struct scanner *scanner, enum token token)
{
    bool is_after_value = scanner->last == TOKEN_WORD || scanner->last == TOKEN_STRING;
    if (scanner->list_line > 0 && is_after_value) {
        return fail(scanner, scanner->line, "the items of a list are separated by commas");
    }
    scanner->last = token;
    return 0;
}

/* The character after a backslash; quote is the string's own. */
static int scan_escape(struct scanner *scanner, uint8_t quote)
{
    if (peek(scanner) != '\\' && peek(scanner) != quote) {
        return fail(scanner, scanner->line,
                    "after a backslash in a string comes a quote or another backslash");
    }
    keep(scanner, take(scanner));
    return 0;
}

static int scan_string(struct scanner *scanner, uint8_t quote)
{
    size_t start = scanner->scan->text.size;
    TRY(take_place(scanner, TOKEN_STRING));
    keep(scanner, quote);
    for (;;) {
        uint8_t c = peek(scanner);
        if (is_at_end(scanner) || c == '\n' || c == '\r') {
            return fail(scanner, scanner->line, "a string is not closed on its line");
        }
        if (c < 0x20 || c == 0x7f) {
            return fail(scanner, scanner->line, "a string has a control character");
        }
        keep(scanner, take(scanner));
        if (c == quote) {
            break;
        }
        if (c == '\\') {
            TRY(scan_escape(scanner, quote));
        }
        if (c == '$' && quote == '"' && peek(scanner) == '{') {
            return fail(scanner, scanner->line,
                        "variables such as ${HOME} are not replaced here; write the value itself "
                        "(a literal \"${\" goes between single quotes)");
        }
    }
    struct bytes string = {scanner->scan->text.data + start, scanner->scan->text.size - start};
    return text_is_utf8(string) ? 0 : fail(scanner, scanner->line, "a string is not UTF-8");
}

static bool is_word_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static int scan_word(struct scanner *scanner, uint8_t c)
{
    size_t size = 1;
    TRY(take_place(scanner, TOKEN_WORD));
    keep(scanner, c);
    for (; is_word_byte(peek(scanner)); size++) {
        keep(scanner, take(scanner));
    }
    scanner->last_word = reader_bytes(&scanner->token, size);
    return 0;
}

static bool is_key(struct bytes word)
{
    for (size_t i = 0; i < word.size; i++) {
        uint8_t c = word.data[i];
        if (c == '-' || c == '.' || (c >= 'A' && c <= 'Z')) {
            return false;
        }
    }
    return true;
}

static int scan_equal_sign(struct scanner *scanner)
{
    if (scanner->last != TOKEN_WORD || !is_key(scanner->last_word)) {
        return fail(scanner, scanner->line,
                    "'=' without a key before it; a key is a word such as data_dir, without "
                    "quotes");
    }
    if (bytes_is_equal(scanner->last_word, bytes_of_text("pin"))) {
        scanner->scan->pin_line = scanner->line;
    }
    return 0;
}

static int scan_opening(struct scanner *scanner)
{
    if (scanner->list_line > 0) {
        return fail(scanner, scanner->line, "a list within a list");
    }
    if (scanner->last == TOKEN_MARK && scanner->last_mark == '=') {
        scanner->list_line = scanner->line;
        return 0;
    }
    if (scanner->last == TOKEN_NONE || scanner->last == TOKEN_MARK) {
        return fail(scanner, scanner->line, "'{' without the name of a block before it");
    }
    if (scanner->block_line > 0) {
        return fail(scanner, scanner->line,
                    "a block within a block (is the '}' of the one before missing?)");
    }
    scanner->block_line = scanner->line;
    struct config_scan *scan = scanner->scan;
    if ((scan->block_count & (scan->block_count - 1)) == 0) {
        scan->block_lines = memory_resize_array(scan->block_lines, MAX(scan->block_count * 2, 1),
                                                sizeof(*scan->block_lines));
    }
    scan->block_lines[scan->block_count++] = scanner->line;
    return 0;
}

static int scan_closing(struct scanner *scanner)
{
    if (scanner->list_line > 0) {
        if (scanner->last == TOKEN_MARK && scanner->last_mark == '{') {
            return fail(scanner, scanner->line,
                        "an empty list says nothing; leave the key out instead");
        }
        scanner->list_line = 0;
        return 0;
    }
    if (scanner->block_line == 0) {
        return fail(scanner, scanner->line, "'}' closes a block that was never opened");
    }
    scanner->block_line = 0;
    return 0;
}

static int scan_comma(struct scanner *scanner)
{
    if (scanner->list_line == 0 || scanner->last == TOKEN_MARK) {
        return fail(scanner, scanner->line, "',' belongs between the items of a list only");
    }
    return 0;
}

static int scan_mark(struct scanner *scanner, uint8_t c)
{
    static const struct {
        uint8_t mark;
        int (*scan)(struct scanner *scanner);
    } marks[] = {
        {'=', scan_equal_sign}, {'{', scan_opening}, {'}', scan_closing}, {',', scan_comma}};
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
        if (marks[i].mark == c) {
            TRY(marks[i].scan(scanner));
        }
    }
    scanner->last = TOKEN_MARK;
    scanner->last_mark = c;
    keep(scanner, c);
    return 0;
}

static int scan_token(struct scanner *scanner)
{
    static const struct {
        const char *characters;
        int (*scan)(struct scanner *scanner, uint8_t c);
    } kinds[] = {
        {" \t\r\n", scan_blank}, {"#", scan_line_comment}, {"/", scan_slash},
        {"\"'", scan_string},    {"={},", scan_mark},
    };
    scanner->token = scanner->reader;
    uint8_t c = take(scanner);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (c != 0 && strchr(kinds[i].characters, c)) {
            return kinds[i].scan(scanner, c);
        }
    }
    return is_word_byte(c) ? scan_word(scanner, c)
                           : fail(scanner, scanner->line,
                                  "a character that means nothing here; values other than words "
                                  "and numbers stand between quotes");
}

static int scan_all(struct scanner *scanner)
{
    while (!is_at_end(scanner)) {
        TRY(scan_token(scanner));
    }
    if (scanner->list_line > 0) {
        return fail(scanner, scanner->list_line, "the list that begins here is never closed by }");
    }
    if (scanner->block_line > 0) {
        return fail(scanner, scanner->block_line,
                    "the block that begins here is never closed by }");
    }
    keep(scanner, 0);
    return 0;
}

int config_scan(struct bytes text, const char *name, struct config_scan *ret_scan,
                struct error *err)
{
    _cleanup_(config_scan_clear) struct config_scan scan = {0};
    struct scanner scanner = {
        .name = name, .err = err, .reader = reader_of(text), .scan = &scan, .line = 1};
    TRY(scan_all(&scanner));
    *ret_scan = scan;
    scan = (struct config_scan){0};
    return 0;
}

void config_scan_clear(struct config_scan *scan)
{
    buffer_clear(&scan->text);
    free(scan->block_lines);
    *scan = (struct config_scan){0};
}
