-- Append one batch to the log, or nothing at all. Lua has no rollback, so every check comes before the first write
-- (a key of a wrong type fails the first read of it; of the stream, the first write).
--
-- KEYS  1 log (stream)  2 heads (hash)  3 command (string)
-- ARGV  1 log id the writer knows      2 the writer's clock, ms     3 digest of the command
--       4 seconds to remember it       5 number of expectations     6 number of entries    7 number of guards
--       then per expectation: key, stream id ('0-0': must not exist)
--       then per entry: key, type, data, '1' where the object ends with it ('0' where it lives on)
--       then the guards to advance
-- Returns {'appended'|'repeated', first id, last id, count}, or a refusal: {'conflict', key, expected, actual},
-- {'reused'}, {'foreign', log id}, {'clock', server ms}, {'refused', reason}, {'malformed', what}.
if redis.replicate_commands then redis.replicate_commands() end

local MAX_ENTRIES, MAX_BYTES, MAX_SKEW_MS, MAX_SEQUENCE = 1000, 4 * 1024 * 1024, 60000, 1048575
local expectations, entries, guards = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local first_entry = 8 + 2 * expectations
local first_guard = first_entry + 4 * entries

if #ARGV ~= first_guard + guards - 1 then return {'malformed', 'number of arguments'} end
if entries > MAX_ENTRIES then return {'malformed', 'more than ' .. MAX_ENTRIES .. ' events'} end
local names = {'log', 'tail', 'refuse', 'readonly'}
for index = 0, math.min(expectations, 500) - 1 do names[#names + 1] = ARGV[8 + 2 * index] end
local heads = redis.call('HMGET', KEYS[2], unpack(names))
if not heads[1] or heads[1] ~= ARGV[1] then return {'foreign', heads[1] or ''} end
local tail = heads[2]

local remembered = redis.call('GET', KEYS[3])
if remembered then
  local digest, first, last, count = string.match(remembered, '^(%S+) (%S+) (%S+) (%d+)$')
  if digest ~= ARGV[3] then return {'reused'} end
  return {'repeated', first, last, tonumber(count)}
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if math.abs(now - tonumber(ARGV[2])) > MAX_SKEW_MS then return {'clock', string.format('%.0f', now)} end

local only_deletes, bytes = true, 0
for index = 0, entries - 1 do
  local at = first_entry + 4 * index
  if ARGV[at] == '' or ARGV[at + 1] == '' or ARGV[at + 2] == '' then return {'malformed', 'empty field'} end
  bytes = bytes + #ARGV[at + 2]
  only_deletes = only_deletes and ARGV[at + 3] == '1'
end
if bytes > MAX_BYTES then return {'malformed', 'more than ' .. MAX_BYTES .. ' bytes'} end

local refuse, readonly = heads[3] or '', heads[4] or ''
if readonly ~= '' and entries > 0 then return {'refused', readonly} end
if refuse ~= '' and entries > 0 then
  local level, reason = string.match(refuse, '^(%a+):(.*)$')
  if level ~= 'deletes' or not only_deletes then return {'refused', reason or refuse} end
end

local offset = 5
for index = 0, expectations - 1 do
  if index > 0 and index % 500 == 0 then
    names, offset = {}, 1 - index
    for more = index, math.min(index + 500, expectations) - 1 do names[#names + 1] = ARGV[8 + 2 * more] end
    heads = redis.call('HMGET', KEYS[2], unpack(names))
  end
  local actual = heads[offset + index] or '0-0'
  if actual ~= ARGV[9 + 2 * index] then return {'conflict', ARGV[8 + 2 * index], ARGV[9 + 2 * index], actual} end
end

local tail_ms, tail_sequence = string.match(tail, '^(%d+)-(%d+)$')
tail_ms, tail_sequence = tonumber(tail_ms), tonumber(tail_sequence)
local ms = math.max(now, tail_ms)
local sequence = ms == tail_ms and tail_sequence + 1 or 0
if sequence + entries - 1 > MAX_SEQUENCE then
  ms, sequence = ms + 1, 0
end
local prefix = string.format('%.0f-', ms)
local first = entries > 0 and prefix .. sequence or tail
local last = entries > 0 and prefix .. (sequence + entries - 1) or tail

local after, moved, ended = tail, {}, {}
if entries > 0 then moved = {'tail', last} end
for index = 0, entries - 1 do
  local at = first_entry + 4 * index
  local id = prefix .. (sequence + index)
  local added = redis.call('XADD', KEYS[1], 'NOMKSTREAM', id,
    'key', ARGV[at], 'type', ARGV[at + 1], 'after', after, 'data', ARGV[at + 2])
  if not added then return {'foreign', 'gone, though its heads are there'} end
  after = id
  if ARGV[at + 3] == '1' then
    ended[#ended + 1] = ARGV[at]
  else
    moved[#moved + 1], moved[#moved + 2] = ARGV[at], last
  end
end
for index = first_guard, first_guard + guards - 1 do
  moved[#moved + 1], moved[#moved + 2] = ARGV[index], last
end
for start = 1, #moved, 1000 do redis.call('HSET', KEYS[2], unpack(moved, start, math.min(start + 999, #moved))) end
for start = 1, #ended, 1000 do redis.call('HDEL', KEYS[2], unpack(ended, start, math.min(start + 999, #ended))) end
redis.call('SET', KEYS[3], ARGV[3] .. ' ' .. first .. ' ' .. last .. ' ' .. entries, 'EX', ARGV[4])
return {'appended', first, last, entries}
