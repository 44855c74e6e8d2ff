/*
 * The one check of queue names. Names at the root that are ours now, or may become so, are
 * reserved; later ones begin with `_`, which no queue's name does.
 */
#include "core/name.h"

#include <stddef.h>
#include <string.h>

static const char *const reserved[] = {"stats", "flush", "config", "metrics", "help"};

/* isalnum() would follow the locale. */
static bool letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool queue_name_valid(const char *name)
{
    if (!letter_or_digit(name[0]))
        return false;
    size_t len = 1;
    while (letter_or_digit(name[len]) || name[len] == '_' || name[len] == '-') {
        if (++len > QUEUE_NAME_MAX)
            return false;
    }
    if (name[len] != '\0')
        return false;
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcmp(name, reserved[i]) == 0)
            return false;
    }
    return true;
}

bool queue_name_may_be_made(const char *name)
{
    return queue_name_valid(name) && strcmp(name, "new") != 0;
}

void item_id_format(uint64_t id, char text[ITEM_ID_DIGITS + 1])
{
    for (int i = ITEM_ID_DIGITS - 1; i >= 0; i--, id >>= 4)
        text[i] = "0123456789abcdef"[id & 15];
    text[ITEM_ID_DIGITS] = '\0';
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

bool item_id_parse(const char *text, uint64_t *id)
{
    uint64_t value = 0;

    for (int i = 0; i < ITEM_ID_DIGITS; i++) {
        int digit = digit_value(text[i]);

        if (digit < 0)
            return false;
        value = value << 4 | (uint64_t)digit;
    }
    if (text[ITEM_ID_DIGITS] != '\0' || !item_id_valid(value))
        return false;
    *id = value;
    return true;
}
