/* Who may give a queue to whom: chown(2)'s rule, for `config` as for chown. */
#ifndef QUEUEFS_FS_OWNER_H
#define QUEUEFS_FS_OWNER_H

#include "fs/fuse.h"

#include "core/settings.h"

/*
 * Of the user behind `req`, who is about to set *fields of `to` where `now` is: root may give a
 * queue to any user and group; anybody else may give it to no other user, and only to a group of
 * their own. 0 or -EPERM. What is as it should be already is taken out of *fields, but for root.
 */
int owner_check(fuse_req_t req, const struct queue_settings *now, const struct queue_settings *to,
                uint64_t *fields);

#endif
