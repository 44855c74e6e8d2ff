/*
 * A filesystem of queuefs's shape that does nothing: the kernel's and libfuse's part of what an
 * operation on a queue costs, for measuring beside it. Same mount options, session threads,
 * direct_io, largest write and time that names stay fresh; same answers to the kernel, an inode for
 * each open of `in` among them (fs/node.h). It keeps no items and answers at once:
 *
 *     in                  takes all that is written
 *     out, next           give lines of 100 bytes: one a read, or as many as fit into a read of
 *                         128 KiB or more; next ends after one, out after --items of them
 *     claim               prints an id, never the same again
 *     leased/ID           100 bytes; any id is there, and may be removed
 *     ready/, flush, stats
 *
 *     null_fs [--items N] MOUNTPOINT      stays in the foreground; SIGTERM ends it
 *
 * A node id has the kind in its low byte and above it what tells nodes of that kind apart: the
 * place in the table of writers, or an item's id. There is nothing to forget.
 */
#include "fs/fuse.h"
#include "fs/session_threads.h"
#include "fs/spin.h"
#include "fs/told.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WRITE_MAX   (1U << 20)
#define FRESH_S     1.0
#define BLOCK_BYTES 4096
#define ITEM_BYTES  100U
#define WHOLE_READ  (128U << 10) /* a read of at least this takes many items */
#define GIVE_MAX    (1U << 20)
#define WRITERS_MAX 1024
#define ID_DIGITS   16

enum kind { ROOT = 1, DIR, IN, OUT, NEXT, CLAIM, STATS, FLUSH, LEASED_DIR, READY_DIR, LEASED };

static const struct {
    const char *name;
    enum kind kind;
} names[] = {
    {"in", IN},       {"out", OUT},     {"next", NEXT},         {"claim", CLAIM},
    {"stats", STATS}, {"flush", FLUSH}, {"leased", LEASED_DIR}, {"ready", READY_DIR},
};

#define N_NAMES (sizeof(names) / sizeof(names[0]))

/* The open files of `in` and `flush`: which nodes are busy. */
static pthread_mutex_t writers_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned writers[WRITERS_MAX]; /* opens of each */
static struct told told;
static struct spin spin;

static uint64_t n_items; /* that an open of out gives; 0: it never ends */
static char lines[GIVE_MAX];
static const char stats_text[] = "depth: 0\n";

struct file {
    enum kind kind;
    uint64_t n_left; /* items, or ids */
};

static fuse_ino_t ino_of(enum kind kind, uint64_t which)
{
    return kind == ROOT ? FUSE_ROOT_ID : (fuse_ino_t)kind | which << 8;
}

static enum kind kind_of(fuse_ino_t ino)
{
    return (enum kind)(ino & 0xff);
}

static void stat_of(fuse_ino_t ino, struct stat *st)
{
    enum kind kind = kind_of(ino);

    *st = (struct stat){.st_nlink = 1, .st_blksize = BLOCK_BYTES};
    st->st_ino = kind == IN || kind == FLUSH ? kind : ino; /* all writers show one */
    st->st_uid = getuid();
    st->st_gid = getgid();
    st->st_mode = S_IFREG | 0600;
    if (kind == ROOT || kind == DIR || kind == LEASED_DIR || kind == READY_DIR) {
        st->st_mode = S_IFDIR | 0700;
        st->st_nlink = 2;
    } else if (kind == LEASED) {
        st->st_size = ITEM_BYTES - 1;
    }
}

/* A place that is not open. Where all are, the last is shared. */
static uint64_t idle_writer(void)
{
    uint64_t which = 0;

    pthread_mutex_lock(&writers_lock);
    while (which < WRITERS_MAX - 1 && writers[which] > 0)
        which++;
    pthread_mutex_unlock(&writers_lock);
    return which;
}

/* -ESTALE: this thread shall look the name up again, and will then get another node. */
static int writer_open(fuse_ino_t ino, pid_t tid)
{
    unsigned *n_opens = &writers[ino >> 8];
    int result = 0;

    pthread_mutex_lock(&writers_lock);
    if (tid > 0 && !told_take(&told, tid) && *n_opens > 0) {
        told_add(&told, tid);
        result = -ESTALE;
    } else {
        ++*n_opens;
    }
    pthread_mutex_unlock(&writers_lock);
    return result;
}

static void writer_close(fuse_ino_t ino)
{
    pthread_mutex_lock(&writers_lock);
    writers[ino >> 8]--;
    pthread_mutex_unlock(&writers_lock);
}

static bool has_writers(enum kind kind)
{
    return kind == IN; /* flush is never kept open here */
}

static fuse_ino_t child_of_queue(const char *name)
{
    size_t len = strcspn(name, "@");

    for (size_t i = 0; i < N_NAMES; i++)
        if (strlen(names[i].name) == len && memcmp(names[i].name, name, len) == 0)
            return ino_of(names[i].kind, has_writers(names[i].kind) ? idle_writer() : 0);
    return 0;
}

/* 0: there is none. */
static fuse_ino_t child_of(fuse_ino_t parent, const char *name)
{
    switch (kind_of(parent)) {
    case ROOT:
        if (strcmp(name, "stats") == 0)
            return ino_of(STATS, 0);
        return strcmp(name, "jobs") == 0 ? ino_of(DIR, 0) : 0;
    case DIR:
        return child_of_queue(name);
    case LEASED_DIR:
        return strlen(name) == ID_DIGITS ? ino_of(LEASED, strtoull(name, NULL, 16)) : 0;
    default:
        return 0;
    }
}

static void null_init(void *userdata, struct fuse_conn_info *conn)
{
    conn->max_write = WRITE_MAX;
    conn->max_background = 256;
    conn->congestion_threshold = 192;
    conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
                              FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void null_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {.attr_timeout = FRESH_S, .entry_timeout = FRESH_S};

    entry.ino = child_of(parent, name);
    if (entry.ino == 0) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    stat_of(entry.ino, &entry.attr);
    fuse_reply_entry(req, &entry);
}

static void null_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    stat_of(ino, &st);
    fuse_reply_attr(req, &st, FRESH_S);
}

static void null_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int to_set,
                         struct fuse_file_info *fi)
{
    null_getattr(req, ino, fi);
}

static void null_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fuse_reply_err(req, kind_of(parent) == LEASED_DIR ? 0 : EPERM);
}

static void null_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    enum kind kind = kind_of(ino);
    int result = has_writers(kind) ? writer_open(ino, fuse_req_ctx(req)->pid) : 0;
    struct file *file;

    if (result < 0) {
        fuse_reply_err(req, -result);
        return;
    }
    file = calloc(1, sizeof(*file));
    if (!file)
        err(1, "file");
    file->kind = kind;
    file->n_left = kind == OUT ? (n_items ? n_items : UINT64_MAX) : 1;
    fi->fh = (uintptr_t)file;
    fi->direct_io = 1;
    fuse_reply_open(req, fi);
}

static void null_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (has_writers(kind_of(ino)))
        writer_close(ino);
    free((struct file *)(uintptr_t)fi->fh);
    fuse_reply_err(req, 0);
}

static void read_items(fuse_req_t req, struct file *file, size_t size)
{
    uint64_t n = size >= WHOLE_READ ? size / ITEM_BYTES : size >= ITEM_BYTES;

    if (n > GIVE_MAX / ITEM_BYTES)
        n = GIVE_MAX / ITEM_BYTES;
    if (n > file->n_left)
        n = file->n_left;
    file->n_left -= n;
    fuse_reply_buf(req, lines, n * ITEM_BYTES);
}

static void read_claim(fuse_req_t req, struct file *file)
{
    static atomic_ullong next_id = 1;
    char text[ID_DIGITS + 2];
    size_t len = 0;

    if (file->n_left > 0) {
        file->n_left = 0;
        len = (size_t)snprintf(text, sizeof(text), "%016llx\n", atomic_fetch_add(&next_id, 1));
    }
    fuse_reply_buf(req, text, len);
}

static void read_text(fuse_req_t req, const char *text, size_t len, size_t size, off_t offset)
{
    size_t from = (size_t)offset < len ? (size_t)offset : len;

    fuse_reply_buf(req, text + from, len - from < size ? len - from : size);
}

static void null_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                      struct fuse_file_info *fi)
{
    struct file *file = (struct file *)(uintptr_t)fi->fh;

    if (file->kind == OUT || file->kind == NEXT)
        read_items(req, file, size);
    else if (file->kind == CLAIM)
        read_claim(req, file);
    else if (file->kind == LEASED)
        read_text(req, lines, ITEM_BYTES - 1, size, offset);
    else
        read_text(req, stats_text, sizeof(stats_text) - 1, size, offset);
}

static void null_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len, off_t offset,
                       struct fuse_file_info *fi)
{
    fuse_reply_write(req, len);
}

static void null_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

static void null_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

/* Names are found, not listed. */
static void null_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                         struct fuse_file_info *fi)
{
    fuse_reply_buf(req, NULL, 0);
}

static void null_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    fuse_reply_err(req, ENODATA);
}

static const struct fuse_lowlevel_ops operations = {
    .init = null_init,
    .lookup = null_lookup,
    .getattr = null_getattr,
    .setattr = null_setattr,
    .unlink = null_unlink,
    .open = null_open,
    .release = null_release,
    .read = null_read,
    .write = null_write,
    .flush = null_flush,
    .fsync = null_fsync,
    .readdir = null_readdir,
    .getxattr = null_getxattr,
};

static void fill_lines(void)
{
    memset(lines, 'x', sizeof(lines));
    for (size_t at = ITEM_BYTES - 1; at < sizeof(lines); at += ITEM_BYTES)
        lines[at] = '\n';
}

static ssize_t io_read(int fd, void *request, size_t max, void *userdata)
{
    spin_wait(&spin, fd);
    return read(fd, request, max);
}

static ssize_t io_write(int fd, struct iovec *iov, int n_iov, void *userdata)
{
    return writev(fd, iov, n_iov);
}

static const struct fuse_custom_io io = {.read = io_read, .writev = io_write};

static int serve(struct fuse_session *session)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int result;

    if (!config)
        err(1, "loop");
    fuse_loop_cfg_set_max_threads(config, session_threads());
    fuse_loop_cfg_set_idle_threads(config, session_threads());
    result = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return result;
}

int main(int argc, char **argv)
{
    char *options[] = {"null_fs", "-o",
                       "default_permissions,nosuid,nodev,noexec,subtype=null_fs,fsname=null_fs"};
    struct fuse_args args = FUSE_ARGS_INIT(3, options);
    struct fuse_session *session;
    int result;

    if (argc == 4 && strcmp(argv[1], "--items") == 0)
        n_items = strtoull(argv[2], NULL, 10);
    else if (argc != 2)
        errx(2, "usage: null_fs [--items N] MOUNTPOINT");
    told_init(&told);
    spin_init(&spin);
    fill_lines();
    session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
    if (!session || fuse_set_signal_handlers(session) != 0 ||
        fuse_session_mount(session, argv[argc - 1]) != 0 ||
        fuse_session_custom_io(session, &io, fuse_session_fd(session)) != 0)
        return 1;
    result = serve(session);
    fuse_session_unmount(session);
    fuse_remove_signal_handlers(session);
    fuse_session_destroy(session);
    fuse_opt_free_args(&args);
    return result < 0;
}
