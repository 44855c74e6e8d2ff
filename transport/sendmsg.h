/* A trap of NNG's, see sendmsg.c. */
#ifndef QUEUEFS_TRANSPORT_SENDMSG_H
#define QUEUEFS_TRANSPORT_SENDMSG_H

#include <stdbool.h>

/* Whether what NNG sends goes through sendmsg.c, as it must. Any thread. */
bool sendmsg_guards(void);

#endif
