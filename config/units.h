/*
 * Numbers as people write them. Reading is strict: one decimal number without sign, space or
 * leading zero, then one unit. Printing takes the largest unit that is exact, so printing and
 * reading back is the identity. Pure functions, any thread.
 */
#ifndef QUEUEFS_CONFIG_UNITS_H
#define QUEUEFS_CONFIG_UNITS_H

#include <stddef.h>
#include <stdint.h>

enum unit_fault {
    UNIT_OK,
    UNIT_NOT_A_NUMBER,
    UNIT_MISSING, /* a time without its unit; only 0 needs none */
    UNIT_UNKNOWN,
    UNIT_TOO_LARGE, /* for an int64_t */
};

#define UNITS_OF_TIME "us, ms, s, m, h"
#define UNITS_OF_SIZE "KiB, MiB, GiB"

enum unit_fault count_parse(const char *text, int64_t *value);
enum unit_fault size_parse(const char *text, int64_t *bytes);
enum unit_fault time_parse(const char *text, int64_t *us);   /* knows no `forever` */
enum unit_fault mode_parse(const char *text, int64_t *mode); /* octal: 660, 0660, 0o660 */

#define UNIT_TEXT_MAX 32
void count_print(int64_t value, char text[UNIT_TEXT_MAX]);
void size_print(int64_t bytes, char text[UNIT_TEXT_MAX]);
void time_print(int64_t us, char text[UNIT_TEXT_MAX]); /* TIME_FOREVER: forever */
void mode_print(int64_t mode, char text[UNIT_TEXT_MAX]);

#endif
