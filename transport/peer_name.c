/* What a connection is called in the log. Any thread, and NNG is asked: hold no lock. */
#include "transport/server_internal.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <nng/transport/ipc/ipc.h>

static void name_process(nng_pipe pipe, char name[PEER_NAME_MAX])
{
    uint64_t pid, uid;

    if (nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_PID, &pid) == 0 &&
        nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) == 0)
        snprintf(name, PEER_NAME_MAX, "process %" PRIu64 " of user %" PRIu64, pid, uid);
}

void peer_name(int pipe_id, char name[PEER_NAME_MAX])
{
    const nng_pipe pipe = {.id = (uint32_t)pipe_id};
    char host[INET6_ADDRSTRLEN] = "";
    nng_sockaddr at;

    snprintf(name, PEER_NAME_MAX, "a peer");
    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &at) != 0)
        return;
    if (at.s_family == NNG_AF_INET) {
        inet_ntop(AF_INET, &at.s_in.sa_addr, host, sizeof(host));
        snprintf(name, PEER_NAME_MAX, "%s:%u", host, ntohs(at.s_in.sa_port));
    } else if (at.s_family == NNG_AF_INET6) {
        inet_ntop(AF_INET6, at.s_in6.sa_addr, host, sizeof(host));
        snprintf(name, PEER_NAME_MAX, "[%s]:%u", host, ntohs(at.s_in6.sa_port));
    } else if (at.s_family == NNG_AF_IPC) {
        name_process(pipe, name);
    }
}
