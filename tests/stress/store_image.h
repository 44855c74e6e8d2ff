/*
 * The files of a closed store, kept in memory: to be changed there, and written back as they then
 * are. One store, one thread; errors are -1 and errno.
 */
#ifndef QUEUEFS_TESTS_STORE_IMAGE_H
#define QUEUEFS_TESTS_STORE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image {
    char name[300]; /* from store_dir on */
    uint8_t *bytes; /* owned */
    size_t len;
};

extern char store_dir[];                           /* a template, for mkdtemp(3) */
extern struct image *store_log, *store_index_file; /* of these; set by images_read() */

/* -1 too where there is no log, or no index. */
int images_read(void);
/* In the place of the files that are there; `index`: that one too. */
int images_write(bool index);
void images_free(void);

#endif
