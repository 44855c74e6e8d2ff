/*
 * Which store the service has. A mount's numbers, leases and acknowledgements are of one store, as
 * far as it had come; each answer tells how far. SYNC tells how far the life that the mount knew
 * has come in the store that is there now: at least as far, and the service has only been started
 * anew; less, or it is not known there, and all that the mount knows is another store's. Then
 * queues are found by name, what is lent is void, what is acknowledged was the other store's, and
 * what is buffered goes out under another id, as from a mount that has just begun. The same,
 * numbers aside, where somebody else puts and gets under this mount's id: a machine that was
 * started twice.
 */
#include "core/mount/mount_state.h"

#include <string.h>

#include "core/log.h"
#include "core/random.h"

void mount_history_init(struct mount *m)
{
    pthread_mutex_init(&m->history.lock, NULL);
}

void mount_history_fini(struct mount *m)
{
    pthread_mutex_destroy(&m->history.lock);
}

static void stand_all(struct mount *m, bool anew)
{
    struct standing standing = mount_standing(m);
    struct mount_queue **all;
    size_t n, i;

    all = mount_all(m, &n);
    for (i = 0; i < n; i++)
        mount_queue_stand(all[i], &standing, anew);
    mount_all_free(all, n);
}

/* Machines that were started from one snapshot may have the same random numbers for a while, but
 * hardly get here in the same microsecond. */
static void new_id_locked(struct mount *m)
{
    struct producer_id id = {{0}};
    int64_t times[2] = {m->clock->wall_us(m->clock), mount_now(m)};

    random_bytes(id.bytes, sizeof(id.bytes));
    for (size_t i = 0; i < sizeof(id.bytes); i++)
        id.bytes[i] ^= ((const uint8_t *)times)[i];
    m->standing.id = id;
    m->standing.term++;
}

void mount_leave_id(struct mount *m, uint32_t term)
{
    bool leave;

    pthread_mutex_lock(&m->lock);
    leave = m->standing.term == term;
    if (leave)
        new_id_locked(m);
    pthread_mutex_unlock(&m->lock);
    if (!leave)
        return;
    log_warning("another mount puts and gets under this one's id (was this machine started twice "
                "from one snapshot?): going on under a new one; what was lent to it is lent anew");
    stand_all(m, true);
}

/* ---- the store ---- */

enum meeting { MEETING_SAME, MEETING_NEXT_LIFE, MEETING_OTHER_STORE };

/* Compare with what is known, and know what was told. */
static enum meeting meet(struct history *known, const struct request *sync,
                         struct store_id *store_before)
{
    enum meeting meeting = MEETING_NEXT_LIFE;
    bool continues;

    pthread_mutex_lock(&known->lock);
    continues = memcmp(&known->store, &sync->out.sync.store, sizeof(known->store)) == 0 &&
                known->life == sync->life;
    /* Of the life that runs more may have been told since this answer was given. */
    if (known->life != sync->out.sync.life)
        continues =
            continues && sync->out.sync.reached > 0 && sync->out.sync.reached >= known->position;
    *store_before = known->store;
    if (known->life != 0 && !continues)
        meeting = MEETING_OTHER_STORE;
    else if (known->life == sync->out.sync.life)
        meeting = MEETING_SAME;
    if (meeting != MEETING_SAME || sync->position > known->position)
        known->position = sync->position;
    known->store = sync->out.sync.store;
    known->life = sync->out.sync.life;
    pthread_mutex_unlock(&known->lock);
    return meeting;
}

static void tell(const struct store_id *before, const struct store_id *now)
{
    char was[STORE_ID_DIGITS + 1], is[STORE_ID_DIGITS + 1];

    store_id_format(before, was);
    store_id_format(now, is);
    if (memcmp(before, now, sizeof(*now)) == 0)
        log_warning("the queue service has an older copy of store %s, which does not know all that "
                    "this mount was told; queues are found by name, leases and what was "
                    "acknowledged since are not in it",
                    is);
    else
        log_warning("the queue service has store %s, this mount knew %s; queues are found by name, "
                    "leases and what was acknowledged stay with the other",
                    is, was);
}

bool mount_meet_store(struct mount *m, const struct request *sync)
{
    struct store_id before;
    enum meeting meeting = meet(&m->history, sync, &before);
    bool other = meeting == MEETING_OTHER_STORE;

    if (meeting == MEETING_SAME)
        return false;
    pthread_mutex_lock(&m->lock);
    m->standing.life = sync->out.sync.life;
    if (other) {
        new_id_locked(m);
        m->n_stores++;
        m->since = 0;
    }
    pthread_mutex_unlock(&m->lock);
    if (other) {
        tell(&before, &sync->out.sync.store);
        mount_forget_numbers(m);
        mount_want_again(m);
    }
    stand_all(m, other);
    return other;
}
