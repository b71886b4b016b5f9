#include "client/helper_syntax.h"

#include <string.h>

#include "lib/base/memory.h"
#include "lib/base/text.h"

enum token { TOKEN_END, TOKEN_WORD, TOKEN_STRING, TOKEN_MARK };

struct scanner {
    struct reader reader;
    unsigned line;
    /* The token in hand. */
    enum token token;
    uint8_t mark;
    struct buffer text; /* with its NUL, of a word or string */
};

static void scanner_clear(struct scanner *scanner)
{
    buffer_clear(&scanner->text);
}

static const char *text_of(const struct scanner *scanner)
{
    return (const char *)scanner->text.data;
}

static bool is_at_end(const struct scanner *scanner)
{
    return scanner->reader.rest.size == 0;
}

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

static bool is_word_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static int refuse(struct error *err, const char *what)
{
    return error_set(err, ERROR_INVALID_ARGUMENT, "%s", what);
}

static void skip_line(struct scanner *scanner)
{
    while (!is_at_end(scanner) && peek(scanner) != '\n') {
        (void)take(scanner);
    }
}

static int skip_long_comment(struct scanner *scanner, struct error *err)
{
    uint8_t last = 0;
    (void)take(scanner);
    while (!is_at_end(scanner)) {
        uint8_t c = take(scanner);
        if (last == '*' && c == '/') {
            return 0;
        }
        last = c;
    }
    return refuse(err, "a comment is never closed by */");
}

/* Blanks and comments. */
static int skip(struct scanner *scanner, struct error *err)
{
    for (;;) {
        uint8_t c = peek(scanner);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            (void)take(scanner);
        } else if (c == '#') {
            skip_line(scanner);
        } else if (c == '/') {
            (void)take(scanner);
            if (peek(scanner) == '/') {
                skip_line(scanner);
            } else if (peek(scanner) == '*') {
                TRY(skip_long_comment(scanner, err));
            } else {
                return refuse(err, "'/' outside of quotes; write paths as in \"/run/web\"");
            }
        } else {
            return 0;
        }
    }
}

static int scan_string(struct scanner *scanner, uint8_t quote, struct error *err)
{
    scanner->token = TOKEN_STRING;
    for (;;) {
        uint8_t c = peek(scanner);
        if (is_at_end(scanner) || c == '\n') {
            return refuse(err, "a string is not closed on its line");
        }
        (void)take(scanner);
        if (c == quote) {
            break;
        }
        if (c < 0x20 || c == 0x7f) {
            return refuse(err, "a string has a control character");
        }
        if (c == '\\') {
            c = take(scanner);
            if (c != '\\' && c != quote) {
                return refuse(err, "after a backslash in a string comes a quote or a backslash");
            }
        } else if (c == '$' && quote == '"' && peek(scanner) == '{') {
            return refuse(err, "variables such as ${HOME} are not replaced here; write the value "
                               "itself (a literal \"${\" goes between single quotes)");
        }
        buffer_append_u8(&scanner->text, c);
    }
    return text_is_utf8(buffer_bytes(&scanner->text)) ? 0 : refuse(err, "a string is not UTF-8");
}

/* Puts the next token into the scanner's hand. */
static int next(struct scanner *scanner, struct error *err)
{
    TRY(skip(scanner, err));
    buffer_reset(&scanner->text);
    if (is_at_end(scanner)) {
        scanner->token = TOKEN_END;
        return 0;
    }
    uint8_t c = take(scanner);
    if (c == '"' || c == '\'') {
        TRY(scan_string(scanner, c, err));
    } else if (c != 0 && strchr("={},", c)) {
        scanner->token = TOKEN_MARK;
        scanner->mark = c;
    } else if (is_word_byte(c)) {
        scanner->token = TOKEN_WORD;
        buffer_append_u8(&scanner->text, c);
        while (is_word_byte(peek(scanner))) {
            buffer_append_u8(&scanner->text, take(scanner));
        }
    } else {
        return refuse(err, "a character that means nothing here; values other than words and "
                           "numbers stand between quotes");
    }
    buffer_append_u8(&scanner->text, 0);
    return 0;
}

static bool is_mark(const struct scanner *scanner, uint8_t mark)
{
    return scanner->token == TOKEN_MARK && scanner->mark == mark;
}

static bool is_value(const struct scanner *scanner)
{
    return scanner->token == TOKEN_WORD || scanner->token == TOKEN_STRING;
}

/* After the opening brace. */
static int read_list(struct scanner *scanner, const struct helper_syntax *handler, const char *key,
                     struct error *err)
{
    for (size_t index = 0;; index++) {
        TRY(next(scanner, err));
        if (!is_value(scanner)) {
            return refuse(err, "a list is { VALUE, VALUE }, with one value at least");
        }
        TRY(handler->value(handler->state, key, index, text_of(scanner), err));
        TRY(next(scanner, err));
        if (is_mark(scanner, '}')) {
            return 0;
        }
        if (!is_mark(scanner, ',')) {
            return refuse(err, "the items of a list are separated by commas; '}' closes it");
        }
    }
}

/* After the equal sign. */
static int read_value(struct scanner *scanner, const struct helper_syntax *handler, const char *key,
                      struct error *err)
{
    TRY(next(scanner, err));
    if (is_mark(scanner, '{')) {
        return read_list(scanner, handler, key, err);
    }
    if (!is_value(scanner)) {
        return error_set(err, ERROR_INVALID_ARGUMENT, "after %.64s = comes a value", key);
    }
    return handler->value(handler->state, key, 0, text_of(scanner), err);
}

/* KEY = VALUE, or the beginning of a block. */
static int read_statement(struct scanner *scanner, const struct helper_syntax *handler,
                          unsigned *block_line, struct error *err)
{
    _cleanup_(free_cleanup) char *word = memory_copy_text(text_of(scanner));
    _cleanup_(free_cleanup) char *title = NULL;
    TRY(next(scanner, err));
    if (is_mark(scanner, '=')) {
        return read_value(scanner, handler, word, err);
    }
    if (scanner->token == TOKEN_STRING) {
        title = memory_copy_text(text_of(scanner));
        TRY(next(scanner, err));
    }
    if (!is_mark(scanner, '{')) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "after %.64s comes '=' and a value, or a title in quotes and '{'", word);
    }
    if (*block_line > 0) {
        return refuse(err, "a block within a block (is the '}' of the one before missing?)");
    }
    *block_line = scanner->line;
    return handler->open(handler->state, word, title, err);
}

static int read_all(struct scanner *scanner, const struct helper_syntax *handler, struct error *err)
{
    unsigned block_line = 0;
    for (;;) {
        TRY(next(scanner, err));
        if (scanner->token == TOKEN_WORD) {
            TRY(read_statement(scanner, handler, &block_line, err));
        } else if (is_mark(scanner, '}') && block_line > 0) {
            unsigned line = scanner->line;
            scanner->line = block_line;
            TRY(handler->close(handler->state, err));
            scanner->line = line;
            block_line = 0;
        } else if (scanner->token == TOKEN_END && block_line > 0) {
            scanner->line = block_line;
            return refuse(err, "the block that begins here is never closed by }");
        } else if (scanner->token == TOKEN_END) {
            return 0;
        } else {
            return refuse(err, "expected KEY = VALUE or BLOCK \"title\" { ... }");
        }
    }
}

int helper_syntax_read(struct bytes text, const char *name, const struct helper_syntax *handler,
                       struct error *err)
{
    _cleanup_(scanner_clear) struct scanner scanner = {.reader = reader_of(text), .line = 1};
    if (read_all(&scanner, handler, err) < 0) {
        return error_prepend(err, "%s:%u", name, scanner.line);
    }
    return 0;
}
