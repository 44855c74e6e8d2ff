/* Requests and answers of every kind, filled to the brim, for the transport's tests. */
#ifndef QUEUEFS_TESTS_TRANSPORT_SAMPLES_H
#define QUEUEFS_TESTS_TRANSPORT_SAMPLES_H

#include "core/request.h"

/* A request of this kind with every field set; what it points to is static. */
void sample_request(struct request *request, enum request_kind kind);

/* What a service would say to it: sets status, state and out, without memory to be freed. */
void sample_answer(struct request *request);

/* Compare what travels; false where something differs. */
bool sample_same_request(const struct request *a, const struct request *b);
bool sample_same_answer(const struct request *a, const struct request *b);

#endif
