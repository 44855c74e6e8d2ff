#include "core/service/lineage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/log.h"
#include "core/random.h"

#define VERSION  1
#define HEAD     32
#define LIFE     16
#define ROW_SIZE (HEAD + (size_t)LINEAGE_LIVES * LIFE + 4)

/* ---- the row ---- */

static size_t encode(const struct lineage *lineage, uint8_t *row)
{
    uint8_t *at = row + HEAD;

    memset(row, 0, HEAD);
    row[0] = VERSION;
    put_le32(row + 4, (uint32_t)lineage->n_lives);
    memcpy(row + 8, lineage->store.bytes, sizeof(lineage->store.bytes));
    put_le64(row + 24, (uint64_t)lineage->ran_us);
    for (size_t i = 0; i < lineage->n_lives; i++) {
        at = put_le64(at, lineage->lives[i].id);
        at = put_le64(at, lineage->lives[i].ended);
    }
    at = put_le32(at, crc32c(row, (size_t)(at - row)));
    return (size_t)(at - row);
}

static int decode(struct lineage *lineage, const uint8_t *row, size_t len)
{
    size_t n;

    if (len < HEAD + 4 || row[0] != VERSION || get_le32(row + len - 4) != crc32c(row, len - 4))
        return -EBADMSG;
    n = get_le32(row + 4);
    if (n > LINEAGE_LIVES || len != HEAD + n * LIFE + 4)
        return -EBADMSG;
    lineage->n_lives = n;
    memcpy(lineage->store.bytes, row + 8, sizeof(lineage->store.bytes));
    lineage->ran_us = (int64_t)get_le64(row + 24);
    for (size_t i = 0; i < n; i++) {
        lineage->lives[i].id = get_le64(row + HEAD + i * LIFE);
        lineage->lives[i].ended = get_le64(row + HEAD + i * LIFE + 8);
    }
    return 0;
}

static int load(struct lineage *lineage, struct store *store)
{
    const void *row;
    size_t len;
    int rc = store->ops->identity_get(store, &row, &len);

    memset(lineage, 0, sizeof(*lineage));
    if (rc == 0)
        rc = decode(lineage, row, len);
    if (rc != -ENOENT && rc != -EBADMSG)
        return rc;
    if (rc == -EBADMSG)
        log_error("the row that says which store this is is damaged: it is a new one from now on; "
                  "mounts that knew it find their queues by name and lose their leases");
    return random_bytes(lineage->store.bytes, sizeof(lineage->store.bytes));
}

static int save(const struct lineage *lineage, struct store *store)
{
    uint8_t *row = malloc(ROW_SIZE);
    int rc = row ? store->ops->begin(store) : -ENOMEM;

    if (rc == 0) {
        rc = store->ops->identity_put(store, row, encode(lineage, row));
        if (rc < 0)
            store->ops->abort(store);
        else
            rc = store->ops->commit(store);
    }
    free(row);
    return rc;
}

/* ---- lives ---- */

int lineage_begin(struct lineage *lineage, struct store *store, uint64_t id)
{
    struct life *lives = lineage->lives;
    int rc = load(lineage, store);

    if (rc < 0)
        return rc;
    if (lineage->n_lives > 0)
        lives[lineage->n_lives - 1].ended = store->ops->position(store);
    if (lineage->n_lives == LINEAGE_LIVES)
        memmove(lives, lives + 1, --lineage->n_lives * sizeof(*lives));
    lives[lineage->n_lives++] = (struct life){.id = id};
    rc = save(lineage, store);
    if (rc != -ENOSPC)
        return rc;
    log_warning("the store has no space to note that it is served anew: to mounts it will be "
                "another store after the next start");
    return 0;
}

int lineage_keep(struct lineage *lineage, struct store *store, int64_t ran_us)
{
    lineage->ran_us = ran_us;
    return save(lineage, store);
}

uint64_t lineage_reached(const struct lineage *lineage, struct store *store, uint64_t life)
{
    for (size_t i = lineage->n_lives; i-- > 0;) {
        const struct life *known = &lineage->lives[i];

        if (known->id == life)
            return known->ended > 0 ? known->ended : store->ops->position(store);
    }
    return 0;
}
