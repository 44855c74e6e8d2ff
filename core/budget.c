#include "core/budget.h"

#include <assert.h>
#include <stdlib.h>

static int user_compare(const struct budget_user *a, const struct budget_user *b)
{
    return (a->uid > b->uid) - (a->uid < b->uid);
}

RB_GENERATE_INTERNAL(budget_users, budget_user, link, user_compare, static __attribute__((unused)))

static int64_t at_least(int64_t bytes, int64_t least)
{
    return bytes > least ? bytes : least;
}

void budget_init(struct budget *b, int64_t total_bytes, bool by_uid, uid_t owner)
{
    *b = (struct budget){.by_uid = by_uid, .owner = owner};
    b->limit_bytes[BUDGET_BUFFERED] = total_bytes;
    b->limit_bytes[BUDGET_FLOOR] = at_least(total_bytes / BUDGET_PART, BUDGET_FLOOR_LEAST);
    b->limit_bytes[BUDGET_PARKED] = at_least(total_bytes / BUDGET_PART, BUDGET_PARKED_LEAST);
    b->limit_bytes[BUDGET_FETCHED] =
        at_least(total_bytes * BUDGET_FETCHED_FACTOR, BUDGET_FETCHED_LEAST);
    b->unlimited.budget = b;
    RB_INIT(&b->users);
    pthread_mutex_init(&b->lock, NULL);
}

void budget_fini(struct budget *b)
{
    assert(RB_EMPTY(&b->users));
    pthread_mutex_destroy(&b->lock);
}

/* ---- users ---- */

static struct budget_user *find_locked(struct budget *b, uid_t uid)
{
    struct budget_user key, *user;

    key.uid = uid;
    user = RB_FIND(budget_users, &b->users, &key);
    if (user)
        return user;
    user = calloc(1, sizeof(*user));
    if (!user)
        return NULL;
    user->budget = b;
    user->has_share = true;
    user->uid = uid;
    RB_INSERT(budget_users, &b->users, user);
    return user;
}

struct budget_user *budget_user_get(struct budget *b, uid_t uid)
{
    struct budget_user *user;

    if (!b->by_uid || uid == 0 || uid == b->owner)
        return &b->unlimited;
    pthread_mutex_lock(&b->lock);
    user = find_locked(b, uid);
    if (user)
        user->n_refs++;
    pthread_mutex_unlock(&b->lock);
    return user;
}

struct budget_user *budget_user_ref(struct budget_user *user)
{
    if (!user->has_share)
        return user;
    pthread_mutex_lock(&user->budget->lock);
    user->n_refs++;
    pthread_mutex_unlock(&user->budget->lock);
    return user;
}

void budget_user_unref(struct budget_user *user)
{
    struct budget *b;
    bool last;

    if (!user || !user->has_share)
        return;
    b = user->budget;
    pthread_mutex_lock(&b->lock);
    last = --user->n_refs == 0;
    if (last)
        RB_REMOVE(budget_users, &b->users, user);
    pthread_mutex_unlock(&b->lock);
    if (last)
        free(user);
}

/* ---- taking and giving back ---- */

static void add_to_user(struct budget_user *user, enum budget_kind kind, int64_t bytes)
{
    if (user->has_share)
        atomic_fetch_add(&user->used_bytes[kind], bytes);
}

static void note_high(struct budget *b, int64_t used_bytes)
{
    if (used_bytes > atomic_load_explicit(&b->high_bytes, memory_order_relaxed))
        atomic_store_explicit(&b->high_bytes, used_bytes, memory_order_relaxed);
}

static int64_t room_of(const struct budget_user *user, enum budget_kind kind, int64_t used_bytes)
{
    return budget_share(user, user->budget->limit_bytes[kind] - used_bytes,
                        atomic_load(&user->used_bytes[kind]));
}

size_t budget_room(const struct budget_user *user, enum budget_kind kind)
{
    return (size_t)room_of(user, kind, atomic_load(&user->budget->used_bytes[kind]));
}

/* As much as there is of `want`, where it is `least` or more. */
static size_t take(struct budget_user *user, enum budget_kind kind, size_t least, size_t want)
{
    _Atomic int64_t *total = &user->budget->used_bytes[kind];
    int64_t used = atomic_load(total), room;
    size_t n;

    do {
        room = room_of(user, kind, used);
        n = (size_t)room < want ? (size_t)room : want;
        if (n == 0 || n < least)
            return 0;
    } while (!atomic_compare_exchange_weak(total, &used, used + (int64_t)n));
    note_high(user->budget, used + (int64_t)n);
    add_to_user(user, kind, (int64_t)n);
    return n;
}

size_t budget_take(struct budget_user *user, enum budget_kind kind, size_t want)
{
    return take(user, kind, 1, want);
}

bool budget_take_all(struct budget_user *user, enum budget_kind kind, size_t bytes)
{
    return bytes == 0 || take(user, kind, bytes, bytes) > 0;
}

void budget_force(struct budget_user *user, enum budget_kind kind, size_t bytes)
{
    atomic_fetch_add(&user->budget->used_bytes[kind], (int64_t)bytes);
    add_to_user(user, kind, (int64_t)bytes);
}

void budget_give_back(struct budget_user *user, enum budget_kind kind, size_t bytes)
{
    atomic_fetch_sub(&user->budget->used_bytes[kind], (int64_t)bytes);
    add_to_user(user, kind, -(int64_t)bytes);
}

int64_t budget_high(struct budget *b, int64_t *now_bytes)
{
    *now_bytes = 0;
    for (int kind = 0; kind < BUDGET_KINDS; kind++)
        *now_bytes += atomic_load(&b->used_bytes[kind]);
    return atomic_exchange(&b->high_bytes, 0);
}
