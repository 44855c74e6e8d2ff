#include "transport/queued/items_command.h"

#include <string.h>

#include "core/log.h"
#include "core/name.h"
#include "transport/queued/datadir.h"

bool items_command_name_valid(const char *queue, bool to_export)
{
    char name[QUEUE_NAME_MAX + 1];
    size_t len = strcspn(queue, "/");

    if (len > QUEUE_NAME_MAX)
        return false;
    memcpy(name, queue, len);
    name[len] = '\0';
    if (queue[len] != '\0')
        return to_export && strcmp(queue + len, "/dead") == 0 && queue_name_valid(name);
    return to_export ? queue_name_valid(name) : queue_name_may_be_made(name);
}

char *items_command_dir(const struct items_place *place)
{
    const struct config *config = place->config;

    if (config->engine == CONFIG_ENGINE_LOCAL)
        return datadir_choose(place->data, config->store_path, place->program);
    log_error("%s: store.engine is not local: its items are not in a store on this disk",
              config->file ? config->file : "the settings");
    return NULL;
}
