/* A session (session_rig.h) of which each test of a suite has its own, with one queue in it. */
#ifndef QUEUEFS_TESTS_FS_JOBS_RIG_H
#define QUEUEFS_TESTS_FS_JOBS_RIG_H

#include "tests/fs/session_rig.h"

extern struct rig rig;
extern uint64_t jobs; /* the node of the queue "jobs" */

/* .init and .fini of a suite. */
void jobs_setup(void);
void jobs_teardown(void);

/* The node of a name that is there. */
uint64_t node_of_name(uint64_t dir, const char *name);

#endif
