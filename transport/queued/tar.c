#include "transport/queued/tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A header: where what we need stands. */
enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_SUM = 148,
    AT_TYPE = 156,
    AT_MAGIC = 257,
    LEN_NAME = 100,
    LEN_SIZE = 12,
    LEN_SUM = 8,
};

static const uint8_t zeros[TAR_BLOCK];

/* As if the checksum itself were blanks. */
static uint32_t sum_of(const uint8_t block[TAR_BLOCK])
{
    uint32_t sum = LEN_SUM * ' ';

    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= AT_SUM && i < AT_SUM + LEN_SUM ? 0 : block[i];
    return sum;
}

void tar_write_header(uint8_t block[TAR_BLOCK], const char *name, uint64_t size, int64_t mtime_s)
{
    char *text = (char *)block;

    memset(block, 0, TAR_BLOCK);
    snprintf(text + AT_NAME, LEN_NAME, "%s", name);
    snprintf(text + AT_MODE, 8, "%07o", 0644);
    snprintf(text + AT_UID, 8, "%07o", 0);
    snprintf(text + AT_GID, 8, "%07o", 0);
    snprintf(text + AT_SIZE, 12, "%011" PRIo64, size & 077777777777);
    snprintf(text + AT_MTIME, 12, "%011" PRIo64,
             (uint64_t)(mtime_s > 0 ? mtime_s : 0) & 077777777777);
    text[AT_TYPE] = '0';
    memcpy(text + AT_MAGIC, "ustar\00000", 8);
    snprintf(text + AT_SUM, 7, "%06" PRIo32, sum_of(block));
    text[AT_SUM + 7] = ' ';
}

/* Octal digits between blanks, ended by a blank or NUL. */
static bool octal(const uint8_t *field, size_t len, uint64_t *value)
{
    size_t at = 0, first;

    *value = 0;
    while (at < len && field[at] == ' ')
        at++;
    for (first = at; at < len && field[at] >= '0' && field[at] <= '7'; at++)
        *value = *value << 3 | (uint64_t)(field[at] - '0');
    if (at == first)
        return false;
    while (at < len && (field[at] == ' ' || field[at] == '\0'))
        at++;
    return at == len;
}

/* The same, or GNU's base 256, which sizes of 8 GiB and more have. */
static bool size_field(const uint8_t *field, uint64_t *value)
{
    if (field[0] != 0x80)
        return octal(field, LEN_SIZE, value);
    *value = 0;
    for (size_t i = 1; i < LEN_SIZE; i++) {
        if (*value >> 55 != 0)
            return false;
        *value = *value << 8 | field[i];
    }
    return true;
}

static enum tar_kind kind_of(uint8_t type, const char **what)
{
    switch (type) {
    case '\0':
    case '0':
    case '7':
        return TAR_FILE;
    case 'x':
        return TAR_PAX;
    case 'g':
        return TAR_GLOBAL;
    case 'L':
    case 'K':
        return TAR_LONG;
    case '1':
        *what = "a hard link (tar --hard-dereference writes files)";
        break;
    case '2':
        *what = "a symbolic link (tar -h writes files)";
        break;
    case '5':
        *what = "a directory";
        break;
    case 'S':
        *what = "a sparse file (tar without -S writes whole ones)";
        break;
    default:
        *what = "no file, but something special";
    }
    return TAR_OTHER;
}

static void name_of(const uint8_t block[TAR_BLOCK], char name[TAR_NAME])
{
    size_t len = 0;

    for (; len < LEN_NAME && block[AT_NAME + len] != '\0'; len++) {
        uint8_t byte = block[AT_NAME + len];

        name[len] = byte < ' ' || byte > '~' ? '?' : (char)byte;
    }
    name[len] = '\0';
}

void tar_read_header(const uint8_t block[TAR_BLOCK], struct tar_member *member)
{
    uint64_t sum;
    size_t len;

    *member = (struct tar_member){.kind = TAR_NONE};
    if (memcmp(block, zeros, TAR_BLOCK) == 0) {
        member->kind = TAR_ZERO;
        return;
    }
    if (memcmp(block + AT_MAGIC, "ustar", 5) != 0 ||
        (block[AT_MAGIC + 5] != '\0' && block[AT_MAGIC + 5] != ' '))
        return;
    member->kind = TAR_DAMAGED;
    if (!octal(block + AT_SUM, LEN_SUM, &sum) || sum != sum_of(block) ||
        !size_field(block + AT_SIZE, &member->size))
        return;
    member->kind = kind_of(block[AT_TYPE], &member->what);
    name_of(block, member->name);
    len = strlen(member->name);
    if (member->kind == TAR_FILE && len > 0 && member->name[len - 1] == '/') {
        member->kind = TAR_OTHER; /* as old ones have them */
        member->what = "a directory";
    }
}

/* ---- pax: records "LENGTH KEY=VALUE\n", where LENGTH counts all of it ---- */

static bool decimal(const uint8_t *text, size_t len, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || *value > UINT64_MAX / 10 - 1)
            return false;
        *value = *value * 10 + (uint64_t)(text[i] - '0');
    }
    return len > 0;
}

static bool starts(const uint8_t *text, size_t len, const char *with)
{
    size_t n = strlen(with);

    return len >= n && memcmp(text, with, n) == 0;
}

/* Of what stands between the blank and the newline. */
static bool pax_pair(const uint8_t *pair, size_t len, struct tar_pax *pax)
{
    const uint8_t *equals = memchr(pair, '=', len);

    if (!equals || equals == pair)
        return false;
    if (starts(pair, len, "GNU.sparse."))
        pax->is_sparse = true;
    if (!starts(pair, len, "size="))
        return true;
    pax->has_size = true;
    return decimal(equals + 1, len - 5, &pax->size);
}

bool tar_read_pax(const uint8_t *bytes, size_t len, struct tar_pax *pax)
{
    *pax = (struct tar_pax){.has_size = false};
    while (len > 0) {
        const uint8_t *blank = memchr(bytes, ' ', len);
        size_t digits = blank ? (size_t)(blank - bytes) : 0;
        uint64_t all;

        if (!decimal(bytes, digits, &all) || all > len || all < digits + 3 ||
            bytes[all - 1] != '\n' || !pax_pair(blank + 1, (size_t)all - digits - 2, pax))
            return false;
        bytes += all;
        len -= all;
    }
    return true;
}
