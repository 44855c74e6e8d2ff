/* Calls are made as such, as the functions of the library are those of kill_calls.c. */
#include "tests/stress/kill_power.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE   4096
#define SECTOR 512
#define NOTES  512 /* more is safe */

/* What the bytes were. */
static struct note {
    int fd; /* -1: it was synced since */
    dev_t dev;
    ino_t ino;
    off_t at;
    size_t len;
    uint8_t *old;
} notes[NOTES];

static size_t n_notes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The same file, for reading and writing. */
static int open_again(int fd)
{
    char link[64];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return (int)syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC, 0);
}

void power_note(int fd, off_t at, size_t len)
{
    struct note note = {.at = at, .len = len};
    struct stat st;
    ssize_t n;

    if (fcntl(fd, F_GETFL) & O_DSYNC || fstat(fd, &st) < 0)
        return;
    note.dev = st.st_dev;
    note.ino = st.st_ino;
    note.fd = open_again(fd);
    note.old = calloc(1, len + 1);
    if (note.fd < 0 || !note.old)
        abort();
    n = pread(note.fd, note.old, len, at); /* what lies behind the end reads as zeros */
    (void)n;
    pthread_mutex_lock(&lock);
    if (n_notes < NOTES)
        notes[n_notes++] = note;
    pthread_mutex_unlock(&lock);
}

void power_forget(int fd)
{
    struct stat st;
    size_t n = 0;

    if (fstat(fd, &st) < 0)
        return;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_notes; i++) {
        if (notes[i].dev == st.st_dev && notes[i].ino == st.st_ino) {
            close(notes[i].fd);
            free(notes[i].old);
        } else {
            notes[n++] = notes[i];
        }
    }
    n_notes = n;
    pthread_mutex_unlock(&lock);
}

/* Whether that page, or sector, of the file is lost. */
static bool is_lost(uint64_t chance, ino_t ino, uint64_t unit)
{
    uint64_t x = (chance ^ (uint64_t)ino << 32 ^ unit) * UINT64_C(0x9e3779b97f4a7c15);

    return chance % 4 == 0 || (x ^ x >> 31) * UINT64_C(0xbf58476d1ce4e5b9) >> 63;
}

void power_cut(uint64_t chance)
{
    off_t unit = chance % 4 == 1 ? SECTOR : PAGE;

    pthread_mutex_lock(&lock);
    while (n_notes > 0) {
        const struct note *note = &notes[--n_notes];
        off_t end = note->at + (off_t)note->len;

        for (off_t at = note->at, next; at < end; at = next) {
            next = (at / unit + 1) * unit < end ? (at / unit + 1) * unit : end;
            if (is_lost(chance, note->ino, (uint64_t)(at / unit)))
                syscall(SYS_pwrite64, note->fd, note->old + (at - note->at), (size_t)(next - at),
                        at);
        }
    }
}
