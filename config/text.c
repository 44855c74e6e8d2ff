/*
 * Printing text as YAML. Plain is kept for what no reader takes for a number, a truth value, a
 * null or punctuation; inside double quotes line breaks (there are three of Unicode) and control
 * characters are escaped, as a reader folds the former and refuses the latter.
 */
#include "config/text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool special_word(const char *text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(words[i], text) == 0)
            return true;
    }
    return false;
}

static bool plain(const char *text)
{
    if (text[0] == '\0' || !strchr(LETTERS "/_", text[0]))
        return false;
    size_t len = strspn(text, LETTERS "0123456789_-+./:");
    return text[len] == '\0' && text[len - 1] != ':' && !special_word(text);
}

/* The character at `text` and its bytes; what is no UTF-8 is one byte and code 0. */
static size_t decode(const char *text, uint32_t *code)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t len = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc0 ? 2 : 0;
    *code = 0;
    if (len == 0)
        return 1;
    uint32_t sum = len == 1 ? at[0] : at[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 1;
        sum = sum << 6 | (at[i] & 0x3f);
    }
    *code = sum;
    return len;
}

static bool must_escape(uint32_t code)
{
    return (code > 0 && code < 0x20) || (code >= 0x7f && code < 0xa0) || code == 0x2028 ||
           code == 0x2029 || code == 0xfeff || code == 0xfffe || code == 0xffff;
}

static void character_print(const char *text, size_t len, uint32_t code, FILE *out)
{
    if (code == '"' || code == '\\')
        fprintf(out, "\\%c", (int)code);
    else if (must_escape(code))
        fprintf(out, "\\u%04" PRIx32, code);
    else
        fwrite(text, 1, len, out);
}

void text_print(const char *text, FILE *out)
{
    if (plain(text)) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    while (*text != '\0') {
        uint32_t code;
        size_t len = decode(text, &code);
        character_print(text, len, code, out);
        text += len;
    }
    fputc('"', out);
}
