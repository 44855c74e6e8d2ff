/*
 * Users and groups of this machine, by name or number. These ask the name service (which may read
 * files or ask a daemon) and block as long as it does. Any thread.
 */
#ifndef QUEUEFS_CONFIG_USERS_H
#define QUEUEFS_CONFIG_USERS_H

#include <stddef.h>
#include <stdint.h>

/* 0, or -ENOENT: nobody is called so (or the name service failed), -ENOMEM. */
int user_find(const char *name, int64_t *uid);
int group_find(const char *name, int64_t *gid);

/* The name that user_find() gives back as this number, malloc'ed; NULL where there is none. */
char *user_name(int64_t uid);
char *group_name(int64_t gid);

#endif
