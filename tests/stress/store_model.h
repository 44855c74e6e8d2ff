/*
 * What a store holds after so many commits, each of which is what its number makes it: batches that
 * come and go and some that stay, marks, producers, queues. And whether a store is that: what is
 * wrong ends the process with status 1 and a word in `report`, which is shared with its parent.
 */
#ifndef QUEUEFS_TESTS_STORE_MODEL_H
#define QUEUEFS_TESTS_STORE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/store/store.h"
#include "tests/stress/kill_calls.h"

#define BATCHES 4096 /* of the queue, at most */

struct model {
    bool large_ones; /* batches that are larger than what is given back at a time */
    uint64_t n;      /* commits */
    uint64_t last;
    size_t len[BATCHES];    /* of a batch; 0: it is not there */
    uint64_t mark[BATCHES]; /* the commit that has set it; 0: none */
    uint64_t producer[4];   /* the commit that put last for it */
    uint64_t other;         /* another queue, which comes and goes; 0: none */
};

/* What a child tells. */
struct report {
    char text[400], line[300];
    uint64_t begun, committed; /* commits */
    uint64_t copied;           /* of which a whole copy has at least so many; 0: there is none */
    bool finished;
    struct kill_note note;
};

extern struct model model;
extern struct report *report; /* its owner has set it */

void wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void must(int rc, const char *what);

/* The next commit's changes are made in the model, and where there is a store in its transaction.
 */
void model_change(struct model *m, struct store *store);
/* The transaction has ended, which borrowed bytes. */
void model_give_back(void);
/* The model is what it is after so many. */
void model_at(uint64_t n);
/* The store has all of so many commits, no fewer than `least` and no more than `most`, and no word
 * of damage was said; so has the model then. */
void model_expect(struct store *store, uint64_t least, uint64_t most);

#endif
