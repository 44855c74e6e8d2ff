#include "fs/owner.h"

#include <errno.h>
#include <stdlib.h>

/* Whether it is one of the asking process' groups. */
static bool has_group(fuse_req_t req, gid_t group)
{
    int n = fuse_req_getgroups(req, 0, NULL), n_listed = 0;
    gid_t *groups = n > 0 ? calloc((size_t)n, sizeof(*groups)) : NULL;
    bool has = fuse_req_ctx(req)->gid == group;

    if (groups)
        n_listed = fuse_req_getgroups(req, n, groups);
    for (int i = 0; i < n_listed && i < n; i++)
        has = has || groups[i] == group;
    free(groups);
    return has;
}

int owner_check(fuse_req_t req, const struct queue_settings *now, const struct queue_settings *to,
                uint64_t *fields)
{
    const uint64_t owner = setting_bit(setting_find("owner"));
    const uint64_t group = setting_bit(setting_find("group"));

    if (fuse_req_ctx(req)->uid == 0)
        return 0;
    if (to->owner == now->owner)
        *fields &= ~owner;
    if (to->group == now->group)
        *fields &= ~group;
    if (*fields & owner)
        return -EPERM;
    return !(*fields & group) || has_group(req, (gid_t)to->group) ? 0 : -EPERM;
}
