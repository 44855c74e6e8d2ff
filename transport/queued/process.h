/* What both programs do to their process before anything else. One thread. */
#ifndef QUEUEFS_TRANSPORT_QUEUED_PROCESS_H
#define QUEUEFS_TRANSPORT_QUEUED_PROCESS_H

/* Descriptors 0 to 2 are open, memory is kept rather than given back, as many files may be open as
 * the system allows, and a connection that breaks is an error rather than a signal. */
void process_init(void);

/* Whether it may open as many files as it needs. 0, or -EMFILE, logged. */
int process_check(void);

#endif
