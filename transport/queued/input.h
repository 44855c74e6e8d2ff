/* Bytes that are read from a descriptor, and looked at before they are taken. One thread. */
#ifndef QUEUEFS_TRANSPORT_QUEUED_INPUT_H
#define QUEUEFS_TRANSPORT_QUEUED_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input {
    int fd;
    uint8_t *bytes; /* those that are there: from `at`, `len` of them. Owned */
    size_t at, len, cap;
    uint64_t taken;
    bool ended; /* no more will come */
};

void input_init(struct input *input, int fd);
void input_fini(struct input *input);

/* So many bytes are there, or all that are left: see len. 0, -ENOMEM, or of read(2). */
int input_need(struct input *input, size_t len);
/* Until the next input_need(). */
static inline const uint8_t *input_bytes(const struct input *input)
{
    return input->bytes + input->at;
}
/* They are done with. */
void input_take(struct input *input, size_t len);

#endif
