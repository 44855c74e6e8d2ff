#include "transport/queued/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ ((size_t)1 << 20) /* at a time */

void input_init(struct input *input, int fd)
{
    *input = (struct input){.fd = fd};
}

void input_fini(struct input *input)
{
    free(input->bytes);
    *input = (struct input){.fd = -1};
}

/* Room behind what is there, for so many bytes in all. */
static int reserve(struct input *input, size_t len)
{
    size_t cap = input->cap > 0 ? input->cap : 2 * READ;
    uint8_t *bytes;

    if (input->at > 0)
        memmove(input->bytes, input->bytes + input->at, input->len);
    input->at = 0;
    while (cap < len)
        cap *= 2;
    if (cap == input->cap)
        return 0;
    bytes = realloc(input->bytes, cap);
    if (!bytes)
        return -ENOMEM;
    input->bytes = bytes;
    input->cap = cap;
    return 0;
}

int input_need(struct input *input, size_t len)
{
    if (input->len >= len || input->ended)
        return 0;
    if (reserve(input, len + READ) < 0)
        return -ENOMEM;
    while (input->len < len && !input->ended) {
        ssize_t n = read(input->fd, input->bytes + input->len, input->cap - input->len);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            input->ended = true;
        if (n > 0)
            input->len += (size_t)n;
    }
    return 0;
}

void input_take(struct input *input, size_t len)
{
    input->at += len;
    input->len -= len;
    input->taken += len;
}
