/*
 * The log. A line is made on the caller's stack and leaves by one write(2), so lines of several
 * threads never mix and nothing is locked. What a message quotes (names, paths, a service's words)
 * comes from outside: control characters are shown as \n or \x1b, so one message stays one line
 * and moves no terminal's cursor. errno is left as it was. Runs on any thread.
 */
#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_MESSAGE_MAX 2048
#define LOG_NAME_MAX    64
#define LOG_ESCAPED_MAX 4 /* \x1b */

static atomic_int highest_level = LOG_LEVEL_INFO;
static char program_name[LOG_NAME_MAX] = "queuefs";
static void (*message_sink)(enum log_level level, const char *message);

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&highest_level, (int)level, memory_order_relaxed);
}

void log_set_sink(const char *name, void (*sink)(enum log_level level, const char *message))
{
    if (name)
        snprintf(program_name, sizeof program_name, "%s", name);
    message_sink = sink;
}

/* Control characters of ASCII, and those of Unicode (U+0080 to U+009F), which are two bytes. */
static bool must_escape(const char *text, size_t at)
{
    unsigned char c = (unsigned char)text[at];
    if (c < 0x20 || c == 0x7f)
        return true;
    unsigned char next = (unsigned char)text[at + 1];
    return c == 0xc2 && next >= 0x80 && next <= 0x9f;
}

static size_t escape(char *out, unsigned char c)
{
    if (c == '\n')
        return (size_t)sprintf(out, "\\n");
    if (c == '\t')
        return (size_t)sprintf(out, "\\t");
    return (size_t)sprintf(out, "\\x%02x", c);
}

/* `size` holds at least an escape, the dots and a NUL. */
static void clean(const char *text, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (len + LOG_ESCAPED_MAX + sizeof "..." > size) {
            memcpy(out + len, "...", 3);
            len += 3;
            break;
        }
        if (must_escape(text, i))
            len += escape(out + len, (unsigned char)text[i]);
        else
            out[len++] = text[i];
    }
    out[len] = '\0';
}

static void write_line(const char *message)
{
    char line[LOG_NAME_MAX + LOG_MESSAGE_MAX + 4];
    int made = snprintf(line, sizeof line, "%s: %s\n", program_name, message);
    size_t len = made < (int)sizeof line ? (size_t)made : sizeof line - 1;
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(STDERR_FILENO, line + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

static void log_message(enum log_level level, const char *format, va_list args)
{
    if ((int)level > atomic_load_explicit(&highest_level, memory_order_relaxed))
        return;
    int saved = errno;
    char raw[LOG_MESSAGE_MAX];
    char message[LOG_MESSAGE_MAX];
    if (vsnprintf(raw, sizeof raw, format, args) >= 0) {
        clean(raw, message, sizeof message);
        if (message_sink)
            message_sink(level, message);
        else
            write_line(message);
    }
    errno = saved;
}

void log_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(LOG_LEVEL_ERROR, format, args);
    va_end(args);
}

void log_warning(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(LOG_LEVEL_WARNING, format, args);
    va_end(args);
}

void log_info(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(LOG_LEVEL_INFO, format, args);
    va_end(args);
}

void log_debug(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(LOG_LEVEL_DEBUG, format, args);
    va_end(args);
}
