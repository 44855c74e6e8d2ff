/* NNG's error codes as errno: the only place that knows both. */
#ifndef QUEUEFS_TRANSPORT_ERROR_H
#define QUEUEFS_TRANSPORT_ERROR_H

/* 0 for 0, else the negative errno that says the same; -EIO for what has no like. */
int error_from_nng(int code);

/* "WHAT: why" for a user, malloc'ed; NULL: out of memory. */
char *error_text(const char *what, int code);

#endif
