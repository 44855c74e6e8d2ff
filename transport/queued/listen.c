/*
 * Listening, and its rules. A socket's directory is made where it is missing, for those who may use
 * the socket; over TCP nobody is let in without a certificate, but for the users of this machine.
 */
#include "transport/queued/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "transport/address.h"
#include "transport/queued/service.h"

struct tls_files tls_files_of(const struct config_tls *tls)
{
    return (struct tls_files){
        .ca = tls->ca,
        .cert = tls->cert,
        .key = tls->key,
        .crl = tls->crl,
        .ciphers = tls->ciphers,
        .min_version = tls->min_version,
        .server_name = tls->server_name,
    };
}

static int check_rules(const char *url, const struct config_tls *tls)
{
    const struct tls_files files = tls_files_of(tls);
    char *error = NULL;
    int result = tls_rules_check(&files, &error);

    if (result < 0)
        log_error("cannot listen on %s: %s", url, error ? error : strerror(-result));
    free(error);
    return result;
}

static int check_tls(const char *url, const struct config_tls *files)
{
    const char *missing = NULL;

    if (!files->key)
        missing = "key";
    if (!files->cert)
        missing = "cert";
    if (!files->ca)
        missing = "ca";
    if (!missing)
        return check_rules(url, files);
    log_error("cannot listen on %s: tls.%s is not set; a tls+tcp:// address needs tls.ca, tls.cert "
              "and tls.key",
              url, missing);
    return -EINVAL;
}

static int check_one(const char *url, const struct config_tls *files)
{
    struct address address;
    char *error = NULL;
    int result = address_parse(url, &address, &error);

    if (result < 0) {
        log_error("cannot listen on %s", error ? error : url);
    } else if (address.kind == ADDRESS_TLS) {
        result = check_tls(url, files);
    } else if (address.kind == ADDRESS_TCP && !address_is_local(&address)) {
        log_error("cannot listen on %s: other machines could use all queues; listen on tls+tcp:// "
                  "with tls.ca, tls.cert and tls.key, or on tcp://127.0.0.1:%u",
                  url, address.port);
        result = -EINVAL;
    }
    free(error);
    return result;
}

int main_service_check(const struct config *config)
{
    int result = 0;

    for (size_t i = 0; i < config->n_listen && result == 0; i++)
        result = check_one(config->listen[i], &config->tls);
    return result;
}

/* Who may enter the directory: the group, and others where the socket is for them. */
static mode_t directory_mode(int64_t socket_mode)
{
    return socket_mode & 0006 ? 0755 : 0750;
}

/* What was made there, and nothing that somebody who may write to the directory above has put in
 * its place since: a link would give away what it leads to. A descriptor, or -errno. */
static int open_made(const char *path, mode_t type)
{
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type && st.st_uid == geteuid() &&
        (type == S_IFDIR || st.st_nlink == 1))
        return fd;
    close(fd);
    return -EPERM;
}

static int give_open(int fd, mode_t mode, const struct config *config)
{
    const uid_t owner = config->socket_owner < 0 ? (uid_t)-1 : (uid_t)config->socket_owner;
    const gid_t group = config->socket_group < 0 ? (gid_t)-1 : (gid_t)config->socket_group;
    char name[32];

    if (fchownat(fd, "", owner, group, AT_EMPTY_PATH) < 0)
        return -errno;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd); /* that is no link to where it was */
    return chmod(name, mode) < 0 ? -errno : 0;
}

int listen_give(const char *path, mode_t type, mode_t mode, const struct config *config)
{
    int fd = open_made(path, type), rc;

    if (fd < 0) {
        log_error("cannot give %s to those who may use it: %s", path,
                  fd == -EPERM ? "something else was put in its place; nobody else may write to "
                                 "its directory"
                               : strerror(-fd));
        return fd;
    }
    rc = give_open(fd, mode, config);
    if (rc < 0)
        log_error("cannot give %s to socket.owner and socket.group, or set its mode: %s", path,
                  strerror(-rc));
    close(fd);
    return rc;
}

/* The directory of a socket where it is missing; not those above it. */
static int make_directory(const char *path, const struct config *config)
{
    char dir[ADDRESS_PATH_MAX + 1];
    char *slash;

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    if (slash == dir)
        return 0;
    *slash = '\0';
    if (mkdir(dir, 0700) < 0) {
        if (errno == EEXIST)
            return 0;
        log_error("cannot make %s for the socket: %s", dir, strerror(errno));
        return -errno;
    }
    if (listen_give(dir, S_IFDIR, directory_mode(config->socket_mode), config) < 0) {
        rmdir(dir);
        return -EPERM;
    }
    return 0;
}

static int listen_on(struct server *server, const char *url, mode_t mode,
                     const struct config_tls *files)
{
    const struct tls_files tls = tls_files_of(files);
    char *error = NULL;
    int result = server_listen(server, url, mode, &tls, &error);

    if (result < 0)
        log_error("%s", error ? error : strerror(-result));
    free(error);
    return result;
}

int listen_private(struct server *server, const char *url)
{
    const struct config_tls none = {0};

    return listen_on(server, url, 0600, &none);
}

/* Nobody but its owner gets in until the socket has been given away. */
static int listen_ipc(struct server *server, const char *url, const char *path,
                      const struct config *config)
{
    int result = make_directory(path, config);

    if (result == 0)
        result = listen_on(server, url, 0600, &config->tls);
    if (result == 0)
        result = listen_give(path, S_IFSOCK, (mode_t)config->socket_mode, config);
    return result;
}

static int listen_one(struct server *server, const char *url, const struct config *config)
{
    struct address address;
    char *error = NULL;
    int result = address_parse(url, &address, &error);

    free(error);
    if (result < 0)
        return result;
    if (address.kind == ADDRESS_IPC)
        return listen_ipc(server, url, address.path, config);
    result = listen_on(server, url, 0600, &config->tls);
    if (result == 0 && address.kind == ADDRESS_TCP)
        log_warning("%s is without TLS: any user of this machine can use all queues", url);
    return result;
}

int listen_all(struct server *server, const struct config *config)
{
    int result = 0;

    for (size_t i = 0; i < config->n_listen && result == 0; i++)
        result = listen_one(server, config->listen[i], config);
    return result;
}
