/*
 * Calls that change files, counted, and the end of the process at one of them (SIGKILL): before it
 * is made, or in its midst: of a write the first half is done, of all else the whole, without an
 * answer.
 *
 * The program that links this has its own pwrite(2), fdatasync(2) and so on, for libraries too.
 * Time runs faster for what waits for a store to be idle. Any thread.
 */
#ifndef QUEUEFS_TESTS_KILL_CALLS_H
#define QUEUEFS_TESTS_KILL_CALLS_H

#include <stdbool.h>
#include <stdint.h>

/* What the store is about: of the thread that has said kill_watch(), the others make spares. */
enum kill_phase {
    PHASE_START,
    PHASE_REBUILD,
    PHASE_COMMIT,
    PHASE_CLEAN, /* a commit that moves what lives */
    PHASE_BACKUP,
    PHASE_CLOSE,
    PHASE_AHEAD,
    PHASES,
};

enum kill_call {
    CALL_CREATE,
    CALL_ALLOCATE,
    CALL_WRITE,
    CALL_SYNC,
    CALL_RENAME,
    CALL_TRUNCATE,
    CALL_UNLINK,
    CALL_MKDIR,
    CALLS,
};

enum kill_file { FILE_SEGMENT, FILE_SPARE, FILE_INDEX, FILE_COPY, FILE_OTHER, FILES };

enum kill_how { KILL_BEFORE, KILL_MIDST, KILL_POWER, KILL_HOWS };

extern const char *const kill_phase_names[PHASES],
    *const kill_call_names[CALLS], *const kill_file_names[FILES], *const kill_how_names[KILL_HOWS];

/* The nth call of a kind. */
struct kill_point {
    enum kill_phase phase;
    enum kill_call call;
    enum kill_file file;
    uint64_t nth; /* 0: none is */
    enum kill_how how;
    bool lies; /* syncs are made, and keep nothing from being lost */
};

/* Shared with who looks at it later. */
struct kill_note {
    bool struck; /* the process was ended there */
    uint32_t n[PHASES][CALLS][FILES];
};

/* From now on calls on files below `store` and `copy` count. */
void kill_watch(const char *store, const char *copy, const struct kill_point *point,
                struct kill_note *note);
void kill_in(enum kill_phase phase);

#endif
