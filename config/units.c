/*
 * Units of size and time, each a table from the smallest to the largest, with what it is worth.
 */
#include "config/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"

struct unit {
    const char *name;
    int64_t worth;
};

static const struct unit size_units[] = {
    {"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0},
};

static const struct unit time_units[] = {
    {"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}, {NULL, 0},
};

/* The digits at the head of *text, which is moved behind them. */
static enum unit_fault take_digits(const char **text, int base, int64_t *value)
{
    const char *at = *text;
    int64_t sum = 0;
    bool too_large = false;
    for (; *at >= '0' && *at < '0' + base; at++)
        too_large |=
            __builtin_mul_overflow(sum, base, &sum) || __builtin_add_overflow(sum, *at - '0', &sum);
    if (at == *text)
        return UNIT_NOT_A_NUMBER;
    *text = at;
    *value = sum;
    return too_large ? UNIT_TOO_LARGE : UNIT_OK;
}

/* 010 is eight to one reader of YAML and ten to another, so neither is guessed. */
static enum unit_fault take_decimal(const char **text, int64_t *value)
{
    if ((*text)[0] == '0' && (*text)[1] >= '0' && (*text)[1] <= '9')
        return UNIT_NOT_A_NUMBER;
    return take_digits(text, 10, value);
}

static enum unit_fault take_unit(const struct unit *units, const char *name, int64_t *value)
{
    for (const struct unit *unit = units; unit->name; unit++) {
        if (strcmp(unit->name, name) != 0)
            continue;
        return __builtin_mul_overflow(*value, unit->worth, value) ? UNIT_TOO_LARGE : UNIT_OK;
    }
    bool word = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
    return word ? UNIT_UNKNOWN : UNIT_NOT_A_NUMBER;
}

enum unit_fault count_parse(const char *text, int64_t *value)
{
    int64_t number;
    enum unit_fault fault = take_decimal(&text, &number);
    if (fault != UNIT_OK)
        return fault;
    if (*text != '\0')
        return UNIT_NOT_A_NUMBER;
    *value = number;
    return UNIT_OK;
}

enum unit_fault size_parse(const char *text, int64_t *bytes)
{
    int64_t number;
    enum unit_fault fault = take_decimal(&text, &number);
    if (fault == UNIT_OK)
        fault = take_unit(size_units, text, &number);
    if (fault == UNIT_OK)
        *bytes = number;
    return fault;
}

enum unit_fault time_parse(const char *text, int64_t *us)
{
    int64_t number;
    enum unit_fault fault = take_decimal(&text, &number);
    if (fault == UNIT_OK && *text == '\0' && number != 0)
        return UNIT_MISSING;
    if (fault == UNIT_OK && *text != '\0')
        fault = take_unit(time_units, text, &number);
    if (fault == UNIT_OK)
        *us = number;
    return fault;
}

enum unit_fault mode_parse(const char *text, int64_t *mode)
{
    if (text[0] == '0' && text[1] == 'o')
        text += 2;
    int64_t number;
    enum unit_fault fault = take_digits(&text, 8, &number);
    if (fault != UNIT_OK)
        return fault;
    if (*text != '\0')
        return UNIT_NOT_A_NUMBER;
    *mode = number;
    return UNIT_OK;
}

static void unit_print(const struct unit *units, int64_t value, char text[UNIT_TEXT_MAX])
{
    const struct unit *best = units;
    for (const struct unit *unit = units; unit->name; unit++) {
        if (value % unit->worth == 0)
            best = unit;
    }
    snprintf(text, UNIT_TEXT_MAX, "%" PRId64 "%s", value / best->worth, best->name);
}

void count_print(int64_t value, char text[UNIT_TEXT_MAX])
{
    snprintf(text, UNIT_TEXT_MAX, "%" PRId64, value);
}

void size_print(int64_t bytes, char text[UNIT_TEXT_MAX])
{
    if (bytes == 0)
        snprintf(text, UNIT_TEXT_MAX, "0");
    else
        unit_print(size_units, bytes, text);
}

void time_print(int64_t us, char text[UNIT_TEXT_MAX])
{
    if (us == TIME_FOREVER)
        snprintf(text, UNIT_TEXT_MAX, "forever");
    else if (us == 0)
        snprintf(text, UNIT_TEXT_MAX, "0s");
    else
        unit_print(time_units, us, text);
}

void mode_print(int64_t mode, char text[UNIT_TEXT_MAX])
{
    snprintf(text, UNIT_TEXT_MAX, "%04" PRIo64, mode);
}
