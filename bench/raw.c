#include "bench/raw.h"

#include <arpa/inet.h>
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/wire.h"

#define HELLO_BYTES 8
#define READ_BYTES  65536

static const uint8_t hello[HELLO_BYTES] = "\0SP\0\0\x30\0";

static void connect_ipc(struct raw *raw, const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(name.sun_path))
        errx(1, "%s: too long for a socket", path);
    strcpy(name.sun_path, path);
    raw->ipc = true;
    raw->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (raw->fd < 0 || connect(raw->fd, (struct sockaddr *)&name, sizeof(name)) < 0)
        err(1, "%s", path);
}

static void connect_tcp(struct raw *raw, const char *address)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *port = strrchr(address, ':');
    int on = 1;

    name.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
    raw->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (raw->fd < 0 || connect(raw->fd, (struct sockaddr *)&name, sizeof(name)) < 0)
        err(1, "%s", address);
    setsockopt(raw->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void send_all(struct raw *raw, const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = send(raw->fd, at, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err(1, "send");
        at += n;
        len -= (size_t)n;
    }
}

void raw_open(struct raw *raw, const char *address)
{
    uint8_t theirs[HELLO_BYTES];

    memset(raw, 0, sizeof(*raw));
    if (strncmp(address, "ipc://", 6) == 0)
        connect_ipc(raw, address + 6);
    else if (strncmp(address, "tcp://127.0.0.1:", 16) == 0)
        connect_tcp(raw, address);
    else
        errx(2, "%s: neither ipc:// nor tcp://127.0.0.1:", address);
    send_all(raw, hello, sizeof(hello));
    if (recv(raw->fd, theirs, sizeof(theirs), MSG_WAITALL) != sizeof(theirs) || theirs[1] != 'S')
        errx(1, "%s: nobody there speaks SP", address);
}

void raw_close(struct raw *raw)
{
    close(raw->fd);
    free(raw->in);
    memset(raw, 0, sizeof(*raw));
}

static size_t head_size(const struct raw *raw)
{
    return raw->ipc ? 9 : 8;
}

void raw_send(struct raw *raw, const struct request *request, uint32_t id)
{
    size_t head = head_size(raw), size = wire_request_size(request);
    uint64_t len = htobe64(size + 4);
    uint32_t tag = htobe32(id | UINT32_C(0x80000000));
    uint8_t *frame = malloc(head + 4 + size);

    if (!frame)
        err(1, "frame");
    frame[0] = 1;
    memcpy(frame + head - 8, &len, 8);
    memcpy(frame + head, &tag, 4);
    wire_request_encode(request, frame + head + 4);
    send_all(raw, frame, head + 4 + size);
    free(frame);
}

bool raw_read(struct raw *raw, bool wait)
{
    ssize_t n;

    if (raw->in_size - raw->n_in < READ_BYTES) {
        raw->in_size = raw->n_in + READ_BYTES;
        raw->in = realloc(raw->in, raw->in_size);
        if (!raw->in)
            err(1, "buffer");
    }
    do
        n = recv(raw->fd, raw->in + raw->n_in, raw->in_size - raw->n_in, wait ? 0 : MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        err(1, "the service closed a connection");
    raw->n_in += (size_t)n;
    return true;
}

bool raw_next(struct raw *raw, uint8_t **frame, size_t *len, uint32_t *id)
{
    size_t head = head_size(raw);
    uint64_t size;
    uint32_t tag;

    if (raw->n_in < head)
        return false;
    memcpy(&size, raw->in + head - 8, 8);
    size = be64toh(size);
    if (size < 4 || size > WIRE_FRAME_MAX)
        errx(1, "an answer of %zu bytes", (size_t)size);
    if (raw->n_in - head < size)
        return false;
    memcpy(&tag, raw->in + head, 4);
    *id = be32toh(tag) & UINT32_C(0x7fffffff);
    *frame = raw->in + head + 4;
    *len = (size_t)size - 4;
    return true;
}

void raw_taken(struct raw *raw, size_t len)
{
    size_t whole = head_size(raw) + 4 + len;

    memmove(raw->in, raw->in + whole, raw->n_in - whole);
    raw->n_in -= whole;
    if (raw->n_in == 0) {
        free(raw->in);
        raw->in = NULL;
        raw->in_size = 0;
    }
}

void raw_decode(const uint8_t *frame, size_t len, struct request *request, void **memory)
{
    *memory = NULL;
    if (wire_reply_decode(frame, len, request, memory) != 0)
        errx(1, "an answer makes no sense");
}

void raw_call(struct raw *raw, struct request *request, void **memory)
{
    uint8_t *frame;
    size_t len;
    uint32_t id;

    raw_send(raw, request, 1);
    while (!raw_next(raw, &frame, &len, &id))
        raw_read(raw, true);
    raw_decode(frame, len, request, memory);
    raw->n_in = 0; /* nothing else is in flight */
}
