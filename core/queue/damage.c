/*
 * The log of damage: a line for each damaged row, but not more of them in a while than somebody
 * would read; then one line that says how many more there were. All of them are counted.
 */
#include "core/queue/queue.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/log.h"

#define LINES_MAX 20
#define WHILE_US  (INT64_C(60) * 1000000)

#define LINE_SIZE 512

static bool is_over(const struct queue_shared *shared)
{
    return shared->now_us - shared->damage.since_us >= WHILE_US;
}

void damage_tell_rest(struct queue_shared *shared, bool at_once)
{
    struct damage *damage = &shared->damage;

    if (damage->n_unsaid == 0 || (!at_once && !is_over(shared)))
        return;
    log_error("%u more damaged rows were found in the store and are not named one by one; "
              "damaged_batches in the stats of each queue says where",
              damage->n_unsaid);
    damage->n_unsaid = 0;
}

void damage_found(struct queue_shared *shared, const char *format, ...)
{
    struct damage *damage = &shared->damage;
    char line[LINE_SIZE];
    va_list args;

    damage->n_rows++;
    if (is_over(shared)) {
        damage_tell_rest(shared, true);
        damage->n_lines = 0;
        damage->since_us = shared->now_us;
    }
    if (damage->n_lines >= LINES_MAX) {
        damage->n_unsaid++;
        return;
    }
    damage->n_lines++;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log_error("%s", line);
}
