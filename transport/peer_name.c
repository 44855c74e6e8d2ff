#include "transport/peer_name.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <nng/transport/ipc/ipc.h>

bool address_text(const uint8_t *bytes, size_t len, char text[ADDRESS_TEXT_MAX])
{
    if (len != sizeof(struct in_addr) && len != sizeof(struct in6_addr))
        return false;
    return inet_ntop(len == sizeof(struct in_addr) ? AF_INET : AF_INET6, bytes, text,
                     ADDRESS_TEXT_MAX) != NULL;
}

bool peer_name_of(const nng_sockaddr *at, char name[PEER_NAME_MAX])
{
    char host[ADDRESS_TEXT_MAX] = "";

    if (at->s_family == NNG_AF_INET) {
        address_text((const uint8_t *)&at->s_in.sa_addr, sizeof(at->s_in.sa_addr), host);
        snprintf(name, PEER_NAME_MAX, "%s:%u", host, ntohs(at->s_in.sa_port));
        return true;
    }
    if (at->s_family == NNG_AF_INET6) {
        address_text(at->s_in6.sa_addr, sizeof(at->s_in6.sa_addr), host);
        snprintf(name, PEER_NAME_MAX, "[%s]:%u", host, ntohs(at->s_in6.sa_port));
        return true;
    }
    return false;
}

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
    nng_sockaddr at;

    snprintf(name, PEER_NAME_MAX, "a peer");
    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &at) != 0)
        return;
    if (!peer_name_of(&at, name) && at.s_family == NNG_AF_IPC)
        name_process(pipe, name);
}

/* Users are told from addresses by their high bits. */
uint64_t peer_owner(int pipe_id)
{
    const nng_pipe pipe = {.id = (uint32_t)pipe_id};
    uint64_t owner = 0;
    nng_sockaddr at;

    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &at) != 0)
        return 0;
    if (at.s_family == NNG_AF_INET)
        owner = UINT64_C(2) << 32 | at.s_in.sa_addr;
    else if (at.s_family == NNG_AF_INET6)
        memcpy(&owner, at.s_in6.sa_addr, sizeof(owner));
    else if (nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &owner) == 0)
        owner = UINT64_C(1) << 32 | (uint32_t)owner;
    return owner;
}
