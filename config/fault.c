/*
 * The lines about wrong settings. A line is made in a buffer on the stack and copied, so that
 * a message costs one allocation, and that one may fail.
 */
#include "config/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FAULT_LINE_MAX 4096
#define FAULT_WORD_MAX 32 /* of words that are compared */

static void clean(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
    }
}

static int hand_over(const struct source *source, char *line, int error)
{
    clean(line);
    *source->error = strdup(line);
    return *source->error ? -error : -ENOMEM;
}

int fault(const struct source *source, struct place at, const char *key, const char *format, ...)
{
    char wrong[FAULT_LINE_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(wrong, sizeof wrong, format, args);
    va_end(args);

    char line[FAULT_LINE_MAX];
    const char *name = source->name;
    snprintf(line, sizeof line, "%.1024s%s%zu:%zu: %s%s%s", name ? name : "", name ? ":" : "",
             at.line, at.column, key ? key : "", key ? ": " : "", wrong);
    return hand_over(source, line, EINVAL);
}

int fault_file(const struct source *source, int error, const char *wrong)
{
    char line[FAULT_LINE_MAX];
    snprintf(line, sizeof line, "%.3000s: %s", source->name, wrong);
    return hand_over(source, line, error);
}

struct quoted fault_quote(const char *text)
{
    size_t room = FAULT_QUOTED_MAX - sizeof "\"...\"";
    size_t len = strnlen(text, room + 1);
    const char *dots = "";
    if (len > room) {
        dots = "...";
        for (len = room; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80; len--)
            ;
    }
    struct quoted quoted;
    snprintf(quoted.text, sizeof quoted.text, "\"%.*s%s\"", (int)len, text, dots);
    return quoted;
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

size_t fault_distance(const char *a, const char *b, size_t limit)
{
    size_t len_a = strnlen(a, FAULT_WORD_MAX + 1);
    size_t len_b = strnlen(b, FAULT_WORD_MAX + 1);
    if (len_a > FAULT_WORD_MAX || len_b > FAULT_WORD_MAX)
        return limit + 1;
    size_t row[FAULT_WORD_MAX + 1];
    for (size_t j = 0; j <= len_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= len_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(replaced, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[len_b] <= limit ? row[len_b] : limit + 1;
}
