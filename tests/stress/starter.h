/*
 * A process that starts and waits for programs on behalf of the checker. The checker must not fork
 * once its users have files open: a child's exec closes its copies of them, which a mount takes for
 * a close (so a flush then ends the item that is being written).
 */
#ifndef QUEUEFS_TESTS_STRESS_STARTER_H
#define QUEUEFS_TESTS_STRESS_STARTER_H

#include <sys/types.h>

#define STARTER_ARGUMENTS 8
#define STARTER_TEXT      512

struct starter {
    pid_t pid;
    int fd;
};

struct starter_order {
    char arguments[STARTER_ARGUMENTS][STARTER_TEXT]; /* until an empty one */
    char log[STARTER_TEXT];                          /* stdout and stderr are appended to it */
};

/* Fork it; while there is one thread, and no open file of a mount. It ends with the caller. */
void starter_begin(struct starter *s);
void starter_end(struct starter *s);

pid_t starter_spawn(struct starter *s, const struct starter_order *order);
/* waitpid(2) of a program it has started; its result, or negative errno. */
pid_t starter_wait(struct starter *s, pid_t pid, int options, int *status);

#endif
