"""The Lua scripts of `streams`: what must happen at once on the server. Redis 6.2+, Valkey, fakeredis.

A queue is a stream with one consumer group, `GROUP`. Every entry is undelivered or pending: acknowledging deletes.
"""

from __future__ import annotations

from events.lines import script_of

GROUP = "workers"

NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
"""`now`: milliseconds since 1970, by the server's clock."""

DELAY = script_of(
    NOW
    + """
local due = string.format('%.0f', now + ARGV[2])
redis.call('ZADD', KEYS[1], due, ARGV[1])
if redis.call('ZRANGE', KEYS[1], 0, 0)[1] == ARGV[1] then
  redis.call('XADD', KEYS[2], '*', 'wake', due)
end
"""
)
"""KEYS delayed, stream; ARGV payload, delay in ms. A message due before all others wakes one blocked reader."""

PROMOTE = script_of(
    NOW
    + """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
for _, payload in ipairs(due) do
  redis.call('XADD', KEYS[2], '*', 'message', payload)
  redis.call('ZREM', KEYS[1], payload)
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[2] then return -1 end
return math.max(0, tonumber(first[2]) - now)
"""
)
"""KEYS delayed, stream. Moves what is due to the stream; returns ms until the next is due, -1 for none."""

CLAIM = script_of("""
local group, consumer, idle, given_up = ARGV[1], ARGV[2], ARGV[3], 0
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], group, 'IDLE', idle, '-', '+', 10)) do
  local id, deliveries = pending[1], tonumber(pending[4])
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry and deliveries < tonumber(ARGV[4]) then
    redis.call('XCLAIM', KEYS[1], group, consumer, idle, id)
    return {given_up, entry}
  end
  if entry then
    given_up = given_up + 1
    redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], '*', 'error', 'delivered ' .. deliveries ..
      ' times and never acknowledged: each of its workers died', 'traceback', '', unpack(entry[2]))
  end
  redis.call('XACK', KEYS[1], group, id)
  redis.call('XDEL', KEYS[1], id)
end
return {given_up, false}
""")
"""KEYS stream, dead; ARGV group, consumer, idle ms, max deliveries, max dead letters.

Takes over one message whose worker has not renewed it for `idle` ms; one delivered too often goes to the dead letters
instead. (XAUTOCLAIM would not tell how often a message was delivered.) Returns {how many were given up, entry or nil}.
"""

ACKNOWLEDGE = script_of("""
redis.call('XACK', KEYS[1], unpack(ARGV))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
""")
"""KEYS stream; ARGV group, ids."""

RENEW = script_of("""
for i = 3, #ARGV do
  if redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  end
end
""")
"""KEYS stream; ARGV group, consumer, ids. Resets the idle time of messages that are still this consumer's."""

FORGET = script_of("""
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local is = {}
  for i = 1, #consumer, 2 do is[consumer[i]] = consumer[i + 1] end
  if is.pending == 0 and (is.name == ARGV[2] or is.idle > tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], is.name)
  end
end
""")
"""KEYS stream; ARGV group, consumer, idle ms. Removes this consumer, and dead ones, where nothing is pending."""

FLUSH = script_of("""
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
""")
"""KEYS stream, delayed; ARGV group. Dead letters stay: they are evidence."""
