/*
 * Going into the background, and the log. The program forks first, before it has a thread, and the
 * parent waits until the child says that it is ready (status 0) or ends (its status). Until then
 * the child has the terminal's stderr; from then on it logs to syslog. In the foreground nothing of
 * that happens, and systemd is told instead.
 */
#ifndef QUEUEFS_FS_QUEUEFS_DAEMONIZE_H
#define QUEUEFS_FS_QUEUEFS_DAEMONIZE_H

#include <stdbool.h>

struct daemon {
    bool foreground;
    int ready_fd; /* the parent reads its other end; -1: none */
};

/* Send the log through this module. Before there are threads. */
void daemon_log_init(const char *name);

/* Returns 0 in the child or in the foreground; negative errno where that failed. The parent does
 * not return. Before there are threads, and before the caller has opened anything: into the
 * background goes no descriptor above 2. */
int daemon_start(struct daemon *daemon, bool foreground);

/* It works: let go of the terminal and of the working directory. -EPIPE: who started it has gone
 * away meanwhile. */
int daemon_ready(struct daemon *daemon);

/* It is ending (for systemd). */
void daemon_ending(const struct daemon *daemon);

#endif
