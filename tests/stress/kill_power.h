/*
 * What a power cut takes away: of what was written since the last sync of its file, pages or
 * sectors as chance will have it. Names and lengths of files are as they are. Any thread.
 */
#ifndef QUEUEFS_TESTS_KILL_POWER_H
#define QUEUEFS_TESTS_KILL_POWER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* `len` bytes of the file are about to be written; under O_DSYNC they are safe at once. */
void power_note(int fd, off_t at, size_t len);
/* The file was synced. */
void power_forget(int fd);
/* The cut. `chance` says what is lost: all of it, sectors, or pages. */
void power_cut(uint64_t chance);

#endif
