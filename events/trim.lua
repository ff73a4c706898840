-- Drop the log's entries up to a sealed one, if the caller is still the historian. The last entry always stays.
--
-- KEYS  1 log (stream)  2 heads (hash)    ARGV  1 epoch  2 stream id of the last entry to drop
-- Returns {'trimmed', count}, {'outrun', epoch} or {'malformed', what}.
if redis.replicate_commands then redis.replicate_commands() end

local found = redis.call('HMGET', KEYS[2], 'historian', 'sealed', 'tail')
if found[1] ~= ARGV[1] then return {'outrun', found[1] or ''} end
local function parts(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end
local function is_behind(one, other)
  local ms, sequence = parts(one)
  local other_ms, other_sequence = parts(other)
  return ms > other_ms or (ms == other_ms and sequence > other_sequence)
end
if is_behind(ARGV[2], found[2] or '0-0') then return {'malformed', 'not sealed'} end
if not is_behind(found[3], ARGV[2]) then return {'malformed', 'nothing would be left'} end
local ms, sequence = parts(ARGV[2])
return {'trimmed', redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f-%.0f', ms, sequence + 1))}
