/* What follows when a commit is durable: its changes become rows of the index, checkpoints are due,
 * segments in which nothing lives are given back. Nobody waits for it: see local_state.h. */
#include "core/store/local_state.h"

#include <errno.h>
#include <string.h>

#include "core/log.h"

#define CHECKPOINT_ROWS 50000 /* changed at most between two checkpoints */

int local_fatal(struct local_store *s, const char *doing, int rc)
{
    log_error("%s: %s: %s", s->dir ? s->dir : "memory", doing, strerror(-rc));
    s->sound = false;
    return -EIO;
}

/* Enough has come since the last one, or it would give a segment back. */
static bool checkpoint_due(const struct local_store *s)
{
    const struct live_segment *first = s->live.all;

    return commit_log_end(s->log) - s->checkpoint >= s->options.segment_bytes ||
           index_changes(s->index) >= CHECKPOINT_ROWS ||
           (s->live.n > 1 && first->bytes == 0 && first->end > s->checkpoint);
}

static int apply_all(struct local_store *s, uint64_t position)
{
    int rc = live_follow(&s->live, s->log);

    for (size_t i = 0; i < s->changes.n && rc == 0; i++) {
        uint64_t died = s->live.died;

        rc = local_apply(s, &s->changes.all[i], position);
        if (i < s->n_moved)
            s->live.died = died;
    }
    if (rc == 0 && checkpoint_due(s))
        rc = local_checkpoint(s);
    return rc == 0 ? local_drop(s) : rc;
}

int local_apply_last(struct local_store *s)
{
    uint64_t position = s->unapplied;
    int rc;

    if (s->failed < 0 || position == 0)
        return s->failed;
    s->unapplied = 0;
    rc = apply_all(s, position);
    if (rc == -EBADMSG) /* the log has it all */
        rc = local_reindex(s);
    changes_reset(&s->changes);
    if (rc < 0)
        s->failed = local_fatal(s, "index", rc);
    return s->failed;
}
