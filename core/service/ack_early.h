/*
 * The fault that tests/stress must find: puts answered before they are committed. Only in builds
 * with -Dfault_injection=true, and there only with QUEUEFS_TEST_ACK_EARLY=MILLISECONDS in the
 * environment: the answers go out, then so much time passes, then the group is committed.
 */
#ifndef QUEUEFS_CORE_SERVICE_ACK_EARLY_H
#define QUEUEFS_CORE_SERVICE_ACK_EARLY_H

struct service;

#ifdef QUEUEFS_FAULT_INJECTION
/* Before the commit of a group. On the service's thread. */
void ack_early(struct service *s);
#else
static inline void ack_early(struct service *s)
{
    (void)s;
}
#endif

#endif
