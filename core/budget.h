/*
 * The memory that users can make a mount hold, against limits: of each kind there is so much in
 * all, and where other users are let in each of them is held to a share, so that nobody who takes
 * all he can get leaves nothing. A share is half of what the others leave: one user may take half
 * of all, each of two a third, each of n 1/(n + 1), and as much is left for whoever comes next.
 * Whoever mounts, and root, have no share: they may take what is free.
 *
 * What is taken is given back by the same user and kind. Any thread; taking and giving back are a
 * few atomic additions. The limit of all holds exactly; a share may be passed by what other threads
 * take for the same user at the same instant.
 */
#ifndef QUEUEFS_CORE_BUDGET_H
#define QUEUEFS_CORE_BUDGET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <bsd/sys/tree.h>

enum budget_kind {
    BUDGET_BUFFERED, /* written and not acknowledged, unfinished items too: buffer_total */
    BUDGET_FLOOR,    /* of unfinished items that go on although that is full: a part of it more */
    BUDGET_PARKED,   /* the copies that waiting writes have: another part */
    BUDGET_FETCHED,  /* items asked for, got and not given yet, or open: BUDGET_FETCHED_FACTOR */
    BUDGET_KINDS,
};

#define BUDGET_PART           4                    /* FLOOR and PARKED are buffer_total / 4, */
#define BUDGET_FETCHED_FACTOR 4                    /* FETCHED buffer_total * 4; but at least: */
#define BUDGET_FLOOR_LEAST    (INT64_C(128) << 20) /* so that half of it is the largest item */
#define BUDGET_PARKED_LEAST   (INT64_C(1) << 20)
#define BUDGET_FETCHED_LEAST  (INT64_C(256) << 20)

struct budget_user {
    struct budget *budget;
    bool has_share;
    _Atomic int64_t used_bytes[BUDGET_KINDS]; /* not counted where it has no share */
    /* budget.lock */
    RB_ENTRY(budget_user) link;
    uid_t uid;
    unsigned n_refs;
};

struct budget {
    int64_t limit_bytes[BUDGET_KINDS];
    _Atomic int64_t used_bytes[BUDGET_KINDS];
    _Atomic int64_t high_bytes; /* the most that one kind has used since budget_high() */
    _Atomic uint64_t n_refused; /* calls that failed because of a limit */
    bool by_uid;
    uid_t owner;
    struct budget_user unlimited; /* whoever has no share */
    pthread_mutex_t lock;         /* above what it guards */
    RB_HEAD(budget_users, budget_user) users;
};

/* buffer_total, and whether users other than `owner` and root are there. */
void budget_init(struct budget *budget, int64_t total_bytes, bool by_uid, uid_t owner);
void budget_fini(struct budget *budget); /* no user has a reference */

/* With a reference; NULL: no memory. */
struct budget_user *budget_user_get(struct budget *budget, uid_t uid);
struct budget_user *budget_user_ref(struct budget_user *user);
void budget_user_unref(struct budget_user *user); /* takes NULL */

/* Of what there is of something, and this user has `held` of it, how much more may it take? */
static inline int64_t budget_share(const struct budget_user *user, int64_t free, int64_t held)
{
    if (user->has_share)
        free = (free - held) / 2;
    return free > 0 ? free : 0;
}

/* How much the user may take; a guess, others take of it. */
size_t budget_room(const struct budget_user *user, enum budget_kind kind);

/* As much of `want` as the user may have; 0: nothing. */
size_t budget_take(struct budget_user *user, enum budget_kind kind, size_t want);

/* All of it, or nothing: false. */
bool budget_take_all(struct budget_user *user, enum budget_kind kind, size_t bytes);

/* What must be kept, whatever the limits. */
void budget_force(struct budget_user *user, enum budget_kind kind, size_t bytes);

void budget_give_back(struct budget_user *user, enum budget_kind kind, size_t bytes);

/* A call fails because of a limit. */
static inline void budget_refused(struct budget_user *user)
{
    atomic_fetch_add(&user->budget->n_refused, 1);
}

/* The most that any kind has used since the last call; *now_bytes: what all use now. */
int64_t budget_high(struct budget *budget, int64_t *now_bytes);

#endif
