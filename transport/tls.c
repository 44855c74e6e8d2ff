#include "transport/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <openssl/ssl.h>

#include "core/cond.h"
#include "core/log.h"
#include "transport/tls_context.h"
#include "transport/tls_why.h"

#define LOOK_S     60 /* between two looks at the files; a tenth of what is left, if that is less */
#define LOOK_MIN_S 1
#define SETTLED_S  2
#define WARN_S     (7 * 24 * 3600) /* before the end; a tenth of the whole time, if that is less */

enum { N_FILES = 4 };

/* What stat(2) says of a file; all zero: it is not there. */
struct look {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed, modified;
};

struct tls {
    atomic_uint n_refs;

    pthread_mutex_t reading; /* held while files are read, so that the last one asked for holds */
    struct tls_files files;  /* copies */
    struct look looks[N_FILES];
    time_t warned; /* of the end that was warned of */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    SSL_CTX *context; /* in use */
    struct tls_facts facts;
    bool watching, stopping;
    pthread_t watcher;
};

/* ---- the files ---- */

static void files_free(struct tls_files *files)
{
    free((char *)files->ca);
    free((char *)files->cert);
    free((char *)files->key);
    free((char *)files->crl);
    free((char *)files->ciphers);
    *files = (struct tls_files){0};
}

static int copy(const char *text, const char **to)
{
    *to = text && *text ? strdup(text) : NULL;
    return *to || !text || !*text ? 0 : -ENOMEM;
}

static int files_copy(const struct tls_files *files, struct tls_files *to)
{
    *to = (struct tls_files){.min_version = files->min_version};
    if (copy(files->ca, &to->ca) == 0 && copy(files->cert, &to->cert) == 0 &&
        copy(files->key, &to->key) == 0 && copy(files->crl, &to->crl) == 0 &&
        copy(files->ciphers, &to->ciphers) == 0)
        return 0;
    files_free(to);
    return -ENOMEM;
}

static void look_at(const struct tls_files *files, struct look looks[N_FILES])
{
    const char *paths[N_FILES] = {files->ca, files->cert, files->key, files->crl};
    struct stat st;

    memset(looks, 0, sizeof(*looks) * N_FILES);
    for (size_t i = 0; i < N_FILES; i++) {
        if (!paths[i] || stat(paths[i], &st) < 0)
            continue;
        looks[i].dev = st.st_dev;
        looks[i].ino = st.st_ino;
        looks[i].size = st.st_size;
        looks[i].changed = st.st_ctim;
        looks[i].modified = st.st_mtim;
    }
}

static bool is_settled(const struct look looks[N_FILES])
{
    const time_t now = time(NULL);

    for (size_t i = 0; i < N_FILES; i++)
        if (looks[i].changed.tv_sec <= now && looks[i].changed.tv_sec > now - SETTLED_S)
            return false;
    return true;
}

/* ---- what is in use ---- */

static void use(struct tls *tls, SSL_CTX *context, const struct tls_facts *facts)
{
    SSL_CTX *old;

    pthread_mutex_lock(&tls->lock);
    old = tls->context;
    tls->context = context;
    tls->facts = *facts;
    pthread_cond_broadcast(&tls->changed);
    pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(old);
}

SSL_CTX *tls_context(struct tls *tls)
{
    SSL_CTX *context;

    pthread_mutex_lock(&tls->lock);
    context = tls->context;
    SSL_CTX_up_ref(context);
    pthread_mutex_unlock(&tls->lock);
    return context;
}

static struct tls_facts facts_now(struct tls *tls)
{
    struct tls_facts facts;

    pthread_mutex_lock(&tls->lock);
    facts = tls->facts;
    pthread_mutex_unlock(&tls->lock);
    return facts;
}

static int64_t warn_before_s(const struct tls_facts *facts)
{
    int64_t tenth = (facts->end - facts->begin) / 10;

    return tenth < WARN_S ? tenth : WARN_S;
}

/* Once for each end. */
static void warn_of_end(struct tls *tls)
{
    const struct tls_facts facts = facts_now(tls);
    const time_t now = time(NULL);
    char end[TLS_TIME_MAX];

    if (facts.end == tls->warned || facts.end - now > warn_before_s(&facts))
        return;
    tls->warned = facts.end;
    tls_time(facts.end, end);
    if (facts.end > now)
        log_warning("%s ends on %s: renew it; the new file is taken without a restart", facts.what,
                    end);
    else
        log_warning("%s has ended on %s, and connections are refused: renew it; the new file is "
                    "taken without a restart",
                    facts.what, end);
}

/* ---- reading ---- */

static int read_locked(struct tls *tls, const struct tls_files *files, char **error)
{
    struct tls_facts facts;
    SSL_CTX *context;
    int rc = tls_context_new(files, &context, &facts, error);

    if (rc == 0)
        use(tls, context, &facts);
    return rc;
}

int tls_reload(struct tls *tls, const struct tls_files *files, char **error)
{
    struct tls_files copied = {0};
    char end[TLS_TIME_MAX];
    int rc = 0;

    *error = NULL;
    pthread_mutex_lock(&tls->reading);
    if (files)
        rc = files_copy(files, &copied);
    look_at(rc == 0 && files ? &copied : &tls->files, tls->looks);
    if (rc == 0)
        rc = read_locked(tls, files ? &copied : &tls->files, error);
    if (rc == 0) {
        const struct tls_facts facts = facts_now(tls);

        log_info("tls: new connections use %s, until %s", facts.own, tls_time(facts.end, end));
        warn_of_end(tls);
    }
    if (rc == 0 && files) {
        files_free(&tls->files);
        tls->files = copied;
    } else {
        files_free(&copied);
    }
    pthread_mutex_unlock(&tls->reading);
    return rc;
}

static bool has_changed(struct tls *tls)
{
    struct look looks[N_FILES];
    bool changed;

    pthread_mutex_lock(&tls->reading);
    look_at(&tls->files, looks);
    changed = memcmp(looks, tls->looks, sizeof(looks)) != 0 && is_settled(looks);
    pthread_mutex_unlock(&tls->reading);
    return changed;
}

void tls_refresh(struct tls *tls)
{
    char *error = NULL;
    int rc;

    if (!has_changed(tls))
        return;
    rc = tls_reload(tls, NULL, &error);
    if (rc < 0)
        log_error("%s; what was read before stays in use", error ? error : strerror(-rc));
    free(error);
}

/* ---- looking by itself ---- */

static int64_t look_in_s(const struct tls_facts *facts)
{
    int64_t in_s = (facts->end - time(NULL)) / 10;

    if (in_s < LOOK_MIN_S)
        return LOOK_MIN_S;
    return in_s < LOOK_S ? in_s : LOOK_S;
}

/* Until it is time to look. False: no more. */
static bool await_look(struct tls *tls)
{
    int64_t until_us;
    bool stopping;

    pthread_mutex_lock(&tls->lock);
    until_us = cond_in_ms(look_in_s(&tls->facts) * 1000);
    while (!tls->stopping && cond_wait_until(&tls->changed, &tls->lock, until_us))
        continue;
    stopping = tls->stopping;
    pthread_mutex_unlock(&tls->lock);
    return !stopping;
}

static void *watch(void *arg)
{
    struct tls *tls = arg;

    while (await_look(tls)) {
        tls_refresh(tls);
        pthread_mutex_lock(&tls->reading);
        warn_of_end(tls);
        pthread_mutex_unlock(&tls->reading);
    }
    return NULL;
}

int tls_watch(struct tls *tls)
{
    int rc;

    tls->stopping = false;
    rc = -pthread_create(&tls->watcher, NULL, watch, tls);
    tls->watching = rc == 0;
    return rc;
}

void tls_unwatch(struct tls *tls)
{
    if (!tls || !tls->watching)
        return;
    pthread_mutex_lock(&tls->lock);
    tls->stopping = true;
    pthread_cond_broadcast(&tls->changed);
    pthread_mutex_unlock(&tls->lock);
    pthread_join(tls->watcher, NULL);
    tls->watching = false;
}

/* ---- come and go ---- */

static int sync_init(struct tls *tls)
{
    int rc = cond_init(&tls->changed);

    if (rc < 0)
        return rc;
    pthread_mutex_init(&tls->lock, NULL);
    pthread_mutex_init(&tls->reading, NULL);
    return 0;
}

int tls_new(const struct tls_files *files, struct tls **made, char **error)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    int rc = tls ? sync_init(tls) : -ENOMEM;

    *error = NULL;
    if (rc < 0) {
        free(tls);
        return rc;
    }
    atomic_init(&tls->n_refs, 1);
    rc = files_copy(files, &tls->files);
    if (rc == 0) {
        look_at(&tls->files, tls->looks);
        rc = read_locked(tls, &tls->files, error);
    }
    if (rc < 0) {
        tls_unref(tls);
        return rc;
    }
    warn_of_end(tls);
    *made = tls;
    return 0;
}

struct tls *tls_ref(struct tls *tls)
{
    atomic_fetch_add(&tls->n_refs, 1);
    return tls;
}

void tls_unref(struct tls *tls)
{
    if (!tls || atomic_fetch_sub(&tls->n_refs, 1) > 1)
        return;
    SSL_CTX_free(tls->context);
    files_free(&tls->files);
    pthread_mutex_destroy(&tls->lock);
    pthread_mutex_destroy(&tls->reading);
    pthread_cond_destroy(&tls->changed);
    free(tls);
}
