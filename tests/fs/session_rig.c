#include "tests/fs/session_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/store/store.h"

#define SECOND INT64_C(1000000)

/* More than any answer here. */
#define REPLY_MAX (256 << 10)

struct rig_reply {
    struct rig_reply *next;
    struct fuse_out_header head;
    uint8_t bytes[];
};

/* ---- life ---- */

atomic_bool rig_names_stuck;

static void await_names(void)
{
    while (atomic_load(&rig_names_stuck))
        usleep(1000);
}

static char *print_maxsize(const struct all_settings *settings)
{
    char *text;

    await_names();
    return asprintf(&text, "maxsize: %lld\n", (long long)settings->own.maxsize) < 0 ? NULL : text;
}

static int parse_maxsize(const char *text, size_t len, struct all_settings *settings,
                         uint64_t *fields, char **error)
{
    long long maxsize;
    char line[64];

    await_names();
    snprintf(line, sizeof(line), "%.*s", (int)len, text);
    *error = NULL;
    if (sscanf(line, "maxsize: %lld", &maxsize) != 1) {
        *error = strdup("no such setting");
        return -EINVAL;
    }
    settings->own.maxsize = maxsize;
    *fields = setting_bit(setting_find("maxsize"));
    return 0;
}

static void open_mount(struct rig *rig)
{
    struct service_options service = {.clock = &clock_system, .id = 7};
    struct mount_options options = {
        .clock = &clock_system,
        .id = {.bytes = {1}},
        .buffer_total = 64 << 20,
        .timeout_us = 20 * SECOND,
        .silence_us = 20 * SECOND, /* a slow machine is no silent service */
        .own_service = true,
    };

    cr_assert_eq(store_memory_open(64 << 20, &service.store), 0);
    cr_assert_eq(service_new(&service, &rig->service), 0);
    cr_assert_eq(service_start(rig->service), 0);
    options.backend = service_backend(rig->service);
    settings_default(&options.defaults);
    options.defaults.own.retry_delay_us = 0;
    options.defaults.mount.linger_us = 60 * SECOND; /* what is sent was asked for */
    cr_assert_eq(mount_new(&options, &rig->mount), 0);
    cr_assert_eq(mount_start(rig->mount, 20 * SECOND), 0);
}

static void *serve(void *arg)
{
    struct rig *rig = arg;
    struct fuse_buf buffer = {.mem = NULL};

    while (fuse_session_receive_buf(rig->session, &buffer) > 0)
        fuse_session_process_buf(rig->session, &buffer);
    free(buffer.mem);
    return NULL;
}

static void keep_locked(struct rig *rig, struct rig_reply *reply)
{
    if (reply->head.unique == 0) {
        rig->n_woken += reply->head.error == FUSE_NOTIFY_POLL;
        free(reply);
    } else {
        reply->next = rig->replies;
        rig->replies = reply;
    }
    pthread_cond_broadcast(&rig->came);
}

static void *read_replies(void *arg)
{
    struct rig *rig = arg;
    struct rig_reply *reply;
    ssize_t len;

    for (;;) {
        reply = malloc(sizeof(*reply) + REPLY_MAX);
        cr_assert_not_null(reply);
        len = recv(rig->kernel, &reply->head, sizeof(reply->head) + REPLY_MAX, 0);
        if (len <= 0) {
            free(reply);
            return NULL;
        }
        cr_assert_eq((uint32_t)len, reply->head.len);
        pthread_mutex_lock(&rig->lock);
        keep_locked(rig, reply);
        pthread_mutex_unlock(&rig->lock);
    }
}

static void shake_hands(struct rig *rig)
{
    const struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION,
                                    .minor = 36,
                                    .max_readahead = 131072,
                                    .flags = FUSE_ATOMIC_O_TRUNC | FUSE_DO_READDIRPLUS |
                                             FUSE_BIG_WRITES | FUSE_MAX_PAGES};
    struct fuse_init_out out;

    cr_assert_eq(rig_call(rig, FUSE_INIT, 0, &in, sizeof(in), &out, sizeof(out)), 0);
    cr_assert_eq(out.major, FUSE_KERNEL_VERSION);
    cr_assert(out.flags & FUSE_ATOMIC_O_TRUNC);
}

void rig_init(struct rig *rig)
{
    char *arguments[] = {"queuefs", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, arguments);
    struct tree_options options = {.allow_other = true,
                                   .queue_mode = 0600,
                                   .config_print = print_maxsize,
                                   .config_parse = parse_maxsize};
    int fds[2], size = 4 << 20;

    memset(rig, 0, sizeof(*rig));
    open_mount(rig);
    options.mount = rig->mount;
    cr_assert_eq(tree_init(&rig->tree, &options), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    rig->kernel = fds[0];
    rig->session = fuse_session_new(&args, &tree_fuse_ops, sizeof(tree_fuse_ops), &rig->tree);
    cr_assert_not_null(rig->session);
    fuse_opt_free_args(&args);
    rig->tree.session = rig->session;
    cr_assert_eq(fuse_session_custom_io(rig->session, &tree_fuse_io, fds[1]), 0);
    pthread_mutex_init(&rig->lock, NULL);
    pthread_cond_init(&rig->came, NULL);
    pthread_create(&rig->reader, NULL, read_replies, rig);
    for (int i = 0; i < RIG_SESSION_THREADS; i++)
        pthread_create(&rig->threads[i], NULL, serve, rig);
    shake_hands(rig);
}

/* That there is nothing more to read. */
static void say_nothing(enum fuse_log_level level, const char *format, va_list arguments)
{
}

static void free_replies(struct rig *rig)
{
    struct rig_reply *reply, *next;

    for (reply = rig->replies; reply; reply = next) {
        next = reply->next;
        free(reply);
    }
}

void rig_fini(struct rig *rig)
{
    struct mount_rest rest;

    mount_stop(rig->mount, 5 * SECOND, &rest);
    fuse_set_log_func(say_nothing);
    shutdown(rig->kernel, SHUT_WR);
    for (int i = 0; i < RIG_SESSION_THREADS; i++)
        pthread_join(rig->threads[i], NULL);
    tree_fini(&rig->tree);
    fuse_session_destroy(rig->session);
    shutdown(rig->kernel, SHUT_RD);
    pthread_join(rig->reader, NULL);
    close(rig->kernel);
    service_stop(rig->service);
    mount_free(rig->mount);
    service_free(rig->service);
    free_replies(rig);
    pthread_cond_destroy(&rig->came);
    pthread_mutex_destroy(&rig->lock);
}

/* ---- requests and answers ---- */

uint64_t rig_send(struct rig *rig, uint32_t opcode, uint64_t node, const void *fixed,
                  size_t n_fixed, const void *more, size_t n_more, const void *last, size_t n_last)
{
    struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + n_fixed + n_more + n_last),
                                  .opcode = opcode,
                                  .nodeid = node,
                                  .pid = (uint32_t)rig->pid};
    struct iovec iov[] = {{&head, sizeof(head)},
                          {(void *)(uintptr_t)fixed, n_fixed},
                          {(void *)(uintptr_t)more, n_more},
                          {(void *)(uintptr_t)last, n_last}};

    if (head.pid == 0)
        head.pid = (uint32_t)syscall(SYS_gettid);
    pthread_mutex_lock(&rig->lock);
    head.unique = rig->unique += 2; /* as the kernel counts: the odd ones are INTERRUPTs */
    cr_assert_eq(writev(rig->kernel, iov, 4), (ssize_t)head.len);
    pthread_mutex_unlock(&rig->lock);
    return head.unique;
}

static struct rig_reply *take_locked(struct rig *rig, uint64_t unique)
{
    for (struct rig_reply **at = &rig->replies; *at; at = &(*at)->next) {
        struct rig_reply *reply = *at;

        if (reply->head.unique == unique) {
            *at = reply->next;
            return reply;
        }
    }
    return NULL;
}

static struct timespec in_30_s(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    return until;
}

int rig_wait(struct rig *rig, uint64_t unique, void *to, size_t max, size_t *len)
{
    struct timespec until = in_30_s();
    struct rig_reply *reply;
    size_t n;
    int error;

    pthread_mutex_lock(&rig->lock);
    while (!(reply = take_locked(rig, unique)))
        cr_assert_eq(pthread_cond_timedwait(&rig->came, &rig->lock, &until), 0, "no answer");
    pthread_mutex_unlock(&rig->lock);
    n = reply->head.len - sizeof(reply->head);
    n = n < max ? n : max;
    if (n > 0)
        memcpy(to, reply->bytes, n);
    if (len)
        *len = n;
    error = reply->head.error;
    free(reply);
    return error;
}

bool rig_answered(struct rig *rig, uint64_t unique)
{
    bool answered = false;

    pthread_mutex_lock(&rig->lock);
    for (struct rig_reply *reply = rig->replies; reply; reply = reply->next)
        answered = answered || reply->head.unique == unique;
    pthread_mutex_unlock(&rig->lock);
    return answered;
}

void rig_await_woken(struct rig *rig, unsigned n)
{
    struct timespec until = in_30_s();

    pthread_mutex_lock(&rig->lock);
    while (rig->n_woken < n)
        cr_assert_eq(pthread_cond_timedwait(&rig->came, &rig->lock, &until), 0, "nobody is woken");
    pthread_mutex_unlock(&rig->lock);
}

int rig_call(struct rig *rig, uint32_t opcode, uint64_t node, const void *fixed, size_t n_fixed,
             void *reply, size_t max)
{
    uint64_t unique = rig_send(rig, opcode, node, fixed, n_fixed, NULL, 0, NULL, 0);

    return rig_wait(rig, unique, reply, max, NULL);
}

/* ---- calls ---- */

int rig_name(struct rig *rig, uint32_t opcode, uint64_t node, const void *fixed, size_t n_fixed,
             const char *name, const char *other, void *reply, size_t max)
{
    uint64_t unique = rig_send(rig, opcode, node, fixed, n_fixed, name, strlen(name) + 1, other,
                               other ? strlen(other) + 1 : 0);

    return rig_wait(rig, unique, reply, max, NULL);
}

int rig_lookup(struct rig *rig, uint64_t dir, const char *name, uint64_t *node)
{
    struct fuse_entry_out out = {0};
    int error = rig_name(rig, FUSE_LOOKUP, dir, NULL, 0, name, NULL, &out, sizeof(out));

    *node = out.nodeid;
    return error;
}

int rig_mkdir(struct rig *rig, const char *name, uint64_t *node)
{
    const struct fuse_mkdir_in in = {.mode = 0700};
    struct fuse_entry_out out = {0};
    int error =
        rig_name(rig, FUSE_MKDIR, FUSE_ROOT_ID, &in, sizeof(in), name, NULL, &out, sizeof(out));

    *node = out.nodeid;
    return error;
}

int rig_open(struct rig *rig, uint64_t node, int flags, uint64_t *fh)
{
    const struct fuse_open_in in = {.flags = (uint32_t)flags};
    struct fuse_open_out out = {0};
    int error = rig_call(rig, FUSE_OPEN, node, &in, sizeof(in), &out, sizeof(out));

    *fh = out.fh;
    return error;
}

uint64_t rig_send_read(struct rig *rig, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size)
{
    const struct fuse_read_in in = {.fh = fh,
                                    .offset = offset,
                                    .size = size,
                                    .lock_owner = 1,
                                    .read_flags = FUSE_READ_LOCKOWNER};

    return rig_send(rig, FUSE_READ, node, &in, sizeof(in), NULL, 0, NULL, 0);
}

int rig_read(struct rig *rig, uint64_t node, uint64_t fh, uint64_t offset, void *to, uint32_t size)
{
    size_t len;
    int error;

    do
        error = rig_wait(rig, rig_send_read(rig, node, fh, offset, size), to, size, &len);
    while (error == -ETIMEDOUT);
    return error ? error : (int)len;
}

uint64_t rig_send_write(struct rig *rig, uint64_t node, uint64_t fh, const void *data, size_t len)
{
    const struct fuse_write_in in = {.fh = fh, .size = (uint32_t)len};

    return rig_send(rig, FUSE_WRITE, node, &in, sizeof(in), data, len, NULL, 0);
}

int rig_write(struct rig *rig, uint64_t node, uint64_t fh, const char *text)
{
    uint64_t unique = rig_send_write(rig, node, fh, text, strlen(text));
    struct fuse_write_out out = {0};
    int error = rig_wait(rig, unique, &out, sizeof(out), NULL);

    return error ? error : (int)out.size;
}

int rig_flush(struct rig *rig, uint64_t node, uint64_t fh)
{
    const struct fuse_flush_in in = {.fh = fh};

    return rig_call(rig, FUSE_FLUSH, node, &in, sizeof(in), NULL, 0);
}

int rig_release(struct rig *rig, uint64_t node, uint64_t fh)
{
    const struct fuse_release_in in = {.fh = fh};

    return rig_call(rig, FUSE_RELEASE, node, &in, sizeof(in), NULL, 0);
}

/* As the kernel opens a name: where the node went stale since the lookup, another lookup. */
static uint64_t open_name(struct rig *rig, uint64_t dir, const char *name, int flags, uint64_t *fh)
{
    uint64_t node;
    int error;

    do {
        cr_assert_eq(rig_lookup(rig, dir, name, &node), 0, "lookup of %s", name);
        error = rig_open(rig, node, flags, fh);
    } while (error == -ESTALE);
    cr_assert_eq(error, 0, "open of %s: %s", name, strerror(-error));
    return node;
}

void rig_put(struct rig *rig, uint64_t dir, const char *text)
{
    uint64_t fh, node = open_name(rig, dir, "in", O_WRONLY | O_APPEND, &fh);

    cr_assert_eq(rig_write(rig, node, fh, text), (int)strlen(text));
    cr_assert_eq(rig_flush(rig, node, fh), 0);
    cr_assert_eq(rig_release(rig, node, fh), 0);
}

void rig_expect(struct rig *rig, uint64_t dir, const char *name, const char *text)
{
    char found[4096];
    uint64_t fh, node = open_name(rig, dir, name, O_RDONLY, &fh);
    int n;

    n = rig_read(rig, node, fh, 0, found, sizeof(found) - 1);
    cr_assert_geq(n, 0, "%s: %s", name, strerror(-n));
    found[n] = '\0';
    cr_assert_str_eq(found, text);
    cr_assert_eq(rig_flush(rig, node, fh), 0);
    cr_assert_eq(rig_release(rig, node, fh), 0);
}
