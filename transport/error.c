#include "transport/error.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <nng/nng.h>

static const struct {
    int code, error;
} error_table[] = {
    {NNG_EINTR, EINTR},
    {NNG_ENOMEM, ENOMEM},
    {NNG_EINVAL, EINVAL},
    {NNG_EBUSY, EBUSY},
    {NNG_ETIMEDOUT, ETIMEDOUT},
    {NNG_ECONNREFUSED, ECONNREFUSED},
    {NNG_ECLOSED, ESHUTDOWN},
    {NNG_EAGAIN, EAGAIN},
    {NNG_ENOTSUP, ENOTSUP},
    {NNG_EADDRINUSE, EADDRINUSE},
    {NNG_ENOENT, ENOENT},
    {NNG_EPROTO, EPROTO},
    {NNG_EUNREACHABLE, EHOSTUNREACH},
    {NNG_EADDRINVAL, EADDRNOTAVAIL},
    {NNG_EPERM, EACCES},
    {NNG_EMSGSIZE, EMSGSIZE},
    {NNG_ECONNABORTED, ECONNABORTED},
    {NNG_ECONNRESET, ECONNRESET},
    {NNG_ECANCELED, ECANCELED},
    {NNG_ENOFILES, EMFILE},
    {NNG_ENOSPC, ENOSPC},
    {NNG_EEXIST, EEXIST},
    {NNG_EREADONLY, EROFS},
    {NNG_ECRYPTO, EPROTO},
    {NNG_EPEERAUTH, EACCES},
    {NNG_ECONNSHUT, ECONNRESET},
};

int error_from_nng(int code)
{
    if (code == 0)
        return 0;
    if (code & NNG_ESYSERR)
        return -(code & ~NNG_ESYSERR);
    for (size_t i = 0; i < sizeof(error_table) / sizeof(error_table[0]); i++)
        if (error_table[i].code == code)
            return -error_table[i].error;
    return -EIO;
}

char *error_text(const char *what, int code)
{
    char *text;

    if (asprintf(&text, "%s: %s", what, nng_strerror(code)) < 0)
        return NULL;
    return text;
}
