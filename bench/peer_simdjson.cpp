/* SPDX-License-Identifier: Apache-2.0 */
#include "peer_simdjson.h"

#include <simdjson.h>

#include <string>

struct peer_simdjson {
    simdjson::padded_string text;
    simdjson::dom::parser parser{};
};

/* Above 0xFFFFFF members simdjson's own count saturates; no file here has as many. */
static size_t members(simdjson::dom::parser &parser, const simdjson::padded_string &text)
{
    simdjson::dom::object object;
    return parser.parse(text).get(object) ? 0 : object.size();
}

peer_simdjson *peer_simdjson_new(const char *text, size_t len)
{
    return new peer_simdjson{simdjson::padded_string(text, len)};
}

void peer_simdjson_free(peer_simdjson *peer)
{
    delete peer;
}

size_t peer_simdjson_reused(peer_simdjson *peer)
{
    return members(peer->parser, peer->text);
}

size_t peer_simdjson_fresh(peer_simdjson *peer)
{
    simdjson::dom::parser parser;
    return members(parser, peer->text);
}

const char *peer_simdjson_name(void)
{
    static const std::string name = "simdjson " + std::to_string(simdjson::SIMDJSON_VERSION_MAJOR) +
                                    "." + std::to_string(simdjson::SIMDJSON_VERSION_MINOR) + "." +
                                    std::to_string(simdjson::SIMDJSON_VERSION_REVISION) + " " +
                                    simdjson::get_active_implementation()->name();
    return name.c_str();
}
