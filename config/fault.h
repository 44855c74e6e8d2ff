/*
 * What is wrong with a settings file, in one line: "NAME:LINE:COLUMN: KEY: wrong; allowed".
 * Whatever it quotes is cut to a length and cleaned of control characters.
 */
#ifndef QUEUEFS_CONFIG_FAULT_H
#define QUEUEFS_CONFIG_FAULT_H

#include <stddef.h>

/* Where the text comes from and where its first fault goes. */
struct source {
    const char *name; /* NULL: none, lines begin with the line number */
    char **error;     /* malloc'ed; NULL in it where memory ran out */
};

struct place {
    size_t line, column; /* from 1 */
};

/* Put the line into *source->error. Returns -EINVAL, or -ENOMEM. `key` may be NULL. */
int fault(const struct source *source, struct place at, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Of the file itself: "NAME: wrong". Returns -error, or -ENOMEM. */
int fault_file(const struct source *source, int error, const char *wrong);

/* `text` in double quotes, cut at a character's end to fit; for one use in a message. */
#define FAULT_QUOTED_MAX 80
struct quoted {
    char text[FAULT_QUOTED_MAX];
};
struct quoted fault_quote(const char *text);

/* The edits that make `a` of `b`, at most `limit` + 1; for "did you mean". */
size_t fault_distance(const char *a, const char *b, size_t limit);

#endif
