/* How far a command is, on stderr where that is a terminal. One thread. */
#ifndef QUEUEFS_TRANSPORT_QUEUED_SHOWN_H
#define QUEUEFS_TRANSPORT_QUEUED_SHOWN_H

#include <stdbool.h>
#include <stdint.h>

struct shown {
    int64_t due_us; /* TIME_FOREVER: nobody looks */
    bool any;
};

struct shown shown_begin(void);
/* So many bytes of so many; all 0: it is not known of how many. `arg` is the struct. */
void show(void *arg, uint64_t done, uint64_t all);
void shown_end(const struct shown *shown);

#endif
