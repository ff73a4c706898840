-- Create a log: its genesis entry and the fields of the heads that say so. Refused where anything of a log of this name exists.
--
-- KEYS  1 log (stream)  2 heads (hash)
-- ARGV  1 random log id  2 key of the genesis event  3 its type  4 its data
-- Returns {'created', stream id} or {'exists', log id}.
if redis.replicate_commands then redis.replicate_commands() end

local log = redis.call('HGET', KEYS[2], 'log')
if log or redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return {'exists', log or ''} end

local time = redis.call('TIME')
local id = string.format('%.0f-0', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
redis.call('XADD', KEYS[1], id, 'key', ARGV[2], 'type', ARGV[3], 'after', '0-0', 'data', ARGV[4])
redis.call('HSET', KEYS[2], 'log', ARGV[1], 'tail', id, 'refuse', '', 'readonly', '')
return {'created', id}
