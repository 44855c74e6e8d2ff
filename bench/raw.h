/*
 * A client without NNG: one socket that speaks its protocol (SP, REQ) over ipc or tcp, so that a
 * thousand of them fit into one thread. Frames are those of transport/wire.h. Any trouble with the
 * socket ends the program with a line on stderr.
 */
#ifndef QUEUEFS_BENCH_RAW_H
#define QUEUEFS_BENCH_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/request.h"

struct raw {
    int fd;
    bool ipc;
    uint8_t *in; /* what has come and was not taken; owned */
    size_t n_in, in_size;
};

/* Connect to ipc:///PATH or tcp://127.0.0.1:PORT, and exchange the first bytes. */
void raw_open(struct raw *raw, const char *address);
void raw_close(struct raw *raw);

/* Send a request; its answer carries `id` (31 bits). */
void raw_send(struct raw *raw, const struct request *request, uint32_t id);

/* Read what has come, waiting if `wait`. False: nothing came. */
bool raw_read(struct raw *raw, bool wait);

/* The next whole answer, until raw_taken(): its frame and id. False: none yet. */
bool raw_next(struct raw *raw, uint8_t **frame, size_t *len, uint32_t *id);
void raw_taken(struct raw *raw, size_t len);

/* Set the results of `request` from its answer and give back what is allocated only for arrays:
 * *memory is for free(). */
void raw_decode(const uint8_t *frame, size_t len, struct request *request, void **memory);

/* Send, wait for the answer, decode. out.get.data points into the frame: good until the next call.
 * For a `raw` that has nothing else in flight. *memory as raw_decode(). */
void raw_call(struct raw *raw, struct request *request, void **memory);

#endif
