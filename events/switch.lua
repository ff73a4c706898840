-- Let another manifest of the archive hold, if the caller is still the historian.
--
-- KEYS  1 heads (hash)    ARGV  1 epoch  2 manifest  3 stream id of its end
-- Returns {'switched'}, {'outrun', epoch} or {'shorter', stream id}.
if redis.replicate_commands then redis.replicate_commands() end

local found = redis.call('HMGET', KEYS[1], 'historian', 'sealed')
if found[1] ~= ARGV[1] then return {'outrun', found[1] or ''} end
local ms, sequence = string.match(found[2] or '0-0', '^(%d+)-(%d+)$')
local new_ms, new_sequence = string.match(ARGV[3], '^(%d+)-(%d+)$')
ms, sequence, new_ms, new_sequence = tonumber(ms), tonumber(sequence), tonumber(new_ms), tonumber(new_sequence)
if new_ms < ms or (new_ms == ms and new_sequence < sequence) then return {'shorter', found[2]} end
redis.call('HSET', KEYS[1], 'archive', ARGV[2], 'sealed', ARGV[3])
return {'switched'}
