/* Listeners, and who may connect to them. Pipe events run on NNG's threads. */
#include "transport/server_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <nng/supplemental/tls/tls.h>
#include <nng/transport/ipc/ipc.h>

#include "transport/address.h"
#include "transport/error.h"
#include "transport/peer_name.h"
#include "transport/tls_engine.h"

static bool is_tls(struct server *server, nng_listener id)
{
    bool tls = false;

    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < server->n_listeners; i++)
        if (nng_listener_id(server->listeners[i].id) == nng_listener_id(id))
            tls = server->listeners[i].tls;
    pthread_mutex_unlock(&server->lock);
    return tls;
}

/* Who is at the other end of a pipe without TLS, as far as it can be told. */
static void identify(nng_pipe pipe, struct identity *who)
{
    nng_sockaddr at;
    uint64_t uid;

    who->kind = IDENTITY_ANYBODY;
    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &at) != 0)
        return;
    if (at.s_family == NNG_AF_INPROC) {
        who->kind = IDENTITY_INSIDE;
    } else if (at.s_family == NNG_AF_IPC) {
        who->kind = IDENTITY_USER;
        who->uid = nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) == 0 ? (int64_t)uid : -1;
    }
}

/* The handshake is to have refused those without a certificate; this makes sure. */
static bool is_welcome(struct server *server, nng_pipe pipe)
{
    struct identity who = {.kind = IDENTITY_CERTIFICATE};

    if (!is_tls(server, nng_pipe_listener(pipe)))
        identify(pipe, &who);
    else if (!tls_engine_verified(pipe, who.cn))
        return false;
    return peer_came(server, nng_pipe_id(pipe), &who, peer_owner(nng_pipe_id(pipe)));
}

static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    if (event == NNG_PIPE_EV_REM_POST)
        peer_gone(arg, nng_pipe_id(pipe));
    else if (!is_welcome(arg, pipe))
        nng_pipe_close(pipe);
}

int listeners_watch(struct server *server)
{
    int rv = nng_pipe_notify(server->socket, NNG_PIPE_EV_ADD_PRE, pipe_changed, server);

    if (rv == 0)
        rv = nng_pipe_notify(server->socket, NNG_PIPE_EV_REM_POST, pipe_changed, server);
    return error_from_nng(rv);
}

static int fail(char **error, const char *url, const char *why, int rc)
{
    if (asprintf(error, "cannot listen on %s: %s", url, why) < 0)
        *error = NULL;
    return rc;
}

/* Whether somebody accepts on the socket: 0 or the errno of trying. */
static int try_connect(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd, rc = 0;

    memcpy(name.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

/* Make way: a socket on which nobody accepts is what a killed process left. */
static int clear_path(const char *url, const char *path, char **error)
{
    struct stat st;
    int rc;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail(error, url, strerror(errno), -errno);
    if (!S_ISSOCK(st.st_mode))
        return fail(error, url, "something that is no socket is in its place", -EEXIST);
    rc = try_connect(path);
    if (rc == 0 || rc == -EAGAIN)
        return fail(error, url, "somebody listens there already", -EADDRINUSE);
    if (rc != -ECONNREFUSED)
        return fail(error, url, strerror(-rc), rc);
    if (unlink(path) < 0 && errno != ENOENT)
        return fail(error, url, strerror(errno), -errno);
    return 0;
}

static int check_address(const char *url, const struct address *address, char **error)
{
    if (address->kind == ADDRESS_TCP && !address_is_local(address))
        return fail(error, url, "other machines could reach it without TLS (use tls+tcp://)",
                    -EPERM);
    if (address->kind == ADDRESS_IPC)
        return clear_path(url, address->path, error);
    return 0;
}

static int set_tls(struct server *server, nng_listener id, const char *url,
                   const struct tls_files *files, char **error)
{
    nng_tls_config *config;
    struct tls_report *report;
    int rc = 0;

    if (!files)
        return fail(error, url, "it needs tls: ca, cert, key", -EINVAL);
    if (!server->tls)
        rc = tls_new(files, &server->tls, error);
    if (rc < 0)
        return rc;
    report = tls_report_new(url);
    if (!report)
        return -ENOMEM;
    rc = error_from_nng(tls_engine_config(NNG_TLS_MODE_SERVER, server->tls, report, NULL, &config));
    tls_report_unref(report);
    if (rc == 0) {
        rc = error_from_nng(nng_listener_set_ptr(id, NNG_OPT_TLS_CONFIG, config));
        nng_tls_config_free(config);
    }
    return rc < 0 ? fail(error, url, strerror(-rc), rc) : 0;
}

static int set_options(struct server *server, nng_listener id, const char *url,
                       const struct address *address, const struct tls_files *tls, char **error)
{
    int rv = nng_listener_set_size(id, NNG_OPT_RECVMAXSZ, WIRE_FRAME_MAX);

    if (rv)
        return fail(error, url, nng_strerror(rv), error_from_nng(rv));
    return address->kind == ADDRESS_TLS ? set_tls(server, id, url, tls, error) : 0;
}

/* NNG's own idea of the URL has the real port. */
static char *real_url(nng_listener id, const char *url)
{
    char *known, *copy;

    if (nng_listener_get_string(id, NNG_OPT_URL, &known) != 0)
        return strdup(url);
    copy = strdup(known);
    nng_strfree(known);
    return copy;
}

/* Known before it starts, so that no connection comes in unknown. */
static struct server_listener *listener_add(struct server *server, nng_listener id,
                                            const struct address *address)
{
    struct server_listener *listener;

    pthread_mutex_lock(&server->lock);
    listener = &server->listeners[server->n_listeners++];
    listener->id = id;
    listener->tls = address->kind == ADDRESS_TLS;
    listener->url = NULL;
    pthread_mutex_unlock(&server->lock);
    return listener;
}

static void listener_drop(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->n_listeners--;
    pthread_mutex_unlock(&server->lock);
}

/* The socket has its mode from its beginning: NNG would set it by name, of whatever is there by
 * then. */
static int start(nng_listener id, const struct address *address, mode_t ipc_mode)
{
    mode_t before = 0;
    int rv;

    if (address->kind == ADDRESS_IPC)
        before = umask(~ipc_mode & 0777);
    rv = nng_listener_start(id, 0);
    if (address->kind == ADDRESS_IPC)
        umask(before);
    return error_from_nng(rv);
}

int server_listen(struct server *server, const char *url, mode_t ipc_mode,
                  const struct tls_files *tls, char **error)
{
    struct server_listener *listener;
    struct address address;
    nng_listener id;
    int rc;

    *error = NULL;
    if (server->n_listeners == SERVER_LISTENERS)
        return fail(error, url, "too many addresses", -ENOSPC);
    rc = address_parse(url, &address, error);
    if (rc == 0)
        rc = check_address(url, &address, error);
    if (rc < 0)
        return rc;
    rc = error_from_nng(nng_listener_create(&id, server->socket, url));
    if (rc < 0)
        return fail(error, url, strerror(-rc), rc);
    rc = set_options(server, id, url, &address, tls, error);
    if (rc < 0) {
        nng_listener_close(id);
        return rc;
    }
    listener = listener_add(server, id, &address);
    rc = start(id, &address, ipc_mode);
    if (rc < 0) {
        fail(error, url, strerror(-rc), rc);
        nng_listener_close(id);
        listener_drop(server);
        return rc;
    }
    listener->url = real_url(id, url);
    return 0;
}

int server_reload(struct server *server, const struct tls_files *tls, char **error)
{
    *error = NULL;
    return server->tls ? tls_reload(server->tls, tls, error) : 0;
}

const char *server_url(const struct server *server, size_t i)
{
    return i < server->n_listeners ? server->listeners[i].url : NULL;
}

void listeners_free(struct server *server)
{
    for (size_t i = 0; i < server->n_listeners; i++)
        free(server->listeners[i].url);
    tls_unref(server->tls);
}
