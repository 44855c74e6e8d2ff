#include "fs/told.h"

#include <assert.h>
#include <string.h>

static pid_t *row_of(struct told *told, pid_t tid)
{
    return told->tids[(unsigned)tid % TOLD_ROWS];
}

void told_init(struct told *told)
{
    memset(told, 0, sizeof(*told));
}

void told_add(struct told *told, pid_t tid)
{
    pid_t *row = row_of(told, tid);

    assert(tid > 0);
    memmove(row + 1, row, (TOLD_WAYS - 1) * sizeof(*row));
    row[0] = tid;
}

bool told_take(struct told *told, pid_t tid)
{
    pid_t *row = row_of(told, tid);

    for (int i = 0; i < TOLD_WAYS && row[i] != 0; i++) {
        if (row[i] != tid)
            continue;
        memmove(row + i, row + i + 1, (size_t)(TOLD_WAYS - 1 - i) * sizeof(*row));
        row[TOLD_WAYS - 1] = 0;
        return true;
    }
    return false;
}
